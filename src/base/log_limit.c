/* The rate limit of log lines: a small table of messages with their window of one second. */
#include "base/log_limit.h"

#include "base/hash.h"
#include "base/utf8.h"

#define PROBES 8u

static bool over(const struct log_limit_slot *s, uint64_t now_ns)
{
	return now_ns - s->since_ns >= LOG_LIMIT_NS;
}

static void take(struct log_limit_slot *s, uint64_t id, enum log_level level, const char *msg, uint64_t now_ns)
{
	struct str fits = utf8_cut(str_c(msg), sizeof s->msg - 1);

	*s = (struct log_limit_slot){.id = id, .since_ns = now_ns, .level = level};
	memcpy(s->msg, fits.p, fits.n);
}

bool log_limit_pass(struct log_limit *l, enum log_level level, const char *msg, uint64_t now_ns)
{
	uint64_t id = hash64(str_c(msg)) | 1;
	struct log_limit_slot *slot = NULL, *unused = NULL, *s = NULL;

	for (size_t i = 0; i < PROBES && !slot; i++) {
		s = &l->slots[(id + i) % LOG_LIMIT_SLOTS];
		if (s->id == id)
			slot = s;
		else if (!unused && (!s->id || (over(s, now_ns) && !s->left_out)))
			unused = s;
	}
	if (!slot && unused) {
		slot = unused;
		take(slot, id, level, msg, now_ns);
	} else if (!slot) {
		slot = s;
	}
	/* A window with lines left out stays until it was reported, which the caller does before it asks. */
	if (over(slot, now_ns) && !slot->left_out) {
		slot->since_ns = now_ns;
		slot->lines = 0;
	}
	if (slot->lines < LOG_LIMIT_LINES) {
		slot->lines++;
		return true;
	}
	if (!slot->left_out)
		l->owing++;
	if (slot->left_out < UINT32_MAX)
		slot->left_out++;
	return false;
}

bool log_limit_report(struct log_limit *l, uint64_t now_ns, struct log_limit_slot *out)
{
	if (!l->owing)
		return false;
	for (size_t i = 0; i < LOG_LIMIT_SLOTS; i++) {
		struct log_limit_slot *s = &l->slots[i];

		if (!s->left_out || !over(s, now_ns))
			continue;
		*out = *s;
		s->left_out = 0;
		l->owing--;
		return true;
	}
	return false;
}
