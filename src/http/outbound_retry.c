/* What callers of services share: which answers may be better the next time, how long to wait for it, and what a service says of
 * its refusal. */
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/json/json.h"
#include "base/utf8.h"
#include "http/outbound.h"
#include "rt/fiber.h"
#include "rt/wait.h"

#define MS UINT64_C(1000000)
#define REASON_MAX 200
#define ECHO_MIN 4  /* bytes of a text from which on its repetition counts */
#define ECHO_LEN 16 /* bytes that are looked for */

bool outbound_passing(int status)
{
	return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

/* Milliseconds before the next try. */
static uint64_t pause_of(const struct outbound_reply *r, unsigned tries, uint32_t backoff_ms)
{
	uint64_t asked = r->status ? outbound_retry_after(r) : 0, ms = (uint64_t)backoff_ms << tries;
	uint32_t chance = 0;

	if (asked)
		return asked;
	if (getrandom(&chance, sizeof chance, GRND_NONBLOCK) != (ssize_t)sizeof chance)
		chance = (uint32_t)clock_mono_ns();
	return ms / 2 + chance % (ms / 2 + 1);
}

enum err outbound_pause(const struct outbound_reply *r, enum err why, unsigned tries, uint32_t backoff_ms, uint32_t most_ms)
{
	uint64_t ms = pause_of(r, tries, backoff_ms), at = clock_mono_ns() + ms * MS;
	struct diag d = *diag_get();

	if (why == E_TIMEOUT && clock_mono_ns() >= fiber_deadline())
		return why;
	if (ms <= most_ms && at < fiber_deadline())
		return wait_until(at);
	*diag_get() = d;
	diag_get()->retry_after_s = (unsigned)((ms + 999) / 1000);
	diag_get()->code = E_BUSY;
	return E_BUSY;
}

/* ----------------------------------------------------------------- refusals */

static bool repeats(struct str message, struct str what)
{
	size_t n = what.n < ECHO_LEN ? what.n : ECHO_LEN;

	return n >= ECHO_MIN && memmem(message.p, message.n, what.p, n) != NULL;
}

static struct jval sentence(struct jval root)
{
	struct jval m = {0}, err;

	if (!j_is(root, JSON_OBJECT))
		return m;
	err = j_get(root, STR("error"));
	m = j_is(err, JSON_STRING) ? err : j_is(err, JSON_OBJECT) ? j_get(err, STR("message")) : m;
	if (!j_is(m, JSON_STRING))
		m = j_get(root, STR("message"));
	return j_is(m, JSON_STRING) ? m : j_get(root, STR("detail"));
}

struct str outbound_reason(struct arena *scratch, struct str body, const struct str *texts, size_t n, struct str key)
{
	struct json_limits lim = {.depth = 16, .nodes = 4096, .bytes = 64 << 10, .flags = JSON_DUP_OK};
	struct diag before = *diag_get();
	struct json doc;
	struct jval m;
	struct str s;
	char *p;

	if (json_parse(scratch, body, &lim, &doc) != OK) {
		*diag_get() = before;
		return STR("");
	}
	m = sentence(json_root(&doc));
	s = j_is(m, JSON_STRING) ? utf8_cut(j_str(scratch, m), REASON_MAX) : STR("");
	if (key.n && memmem(s.p, s.n, key.p, key.n))
		return STR("");
	for (size_t i = 0; i < n; i++)
		if (repeats(s, texts[i]))
			return STR("");
	p = s.n ? arena_cstr(scratch, s) : NULL;
	for (size_t i = 0; p && i < s.n; i++)
		if ((unsigned char)p[i] < ' ')
			p[i] = ' ';
	return p ? str_of(p, s.n) : STR("");
}
