/* Sessions: messages in, checked and with their index documents; messages and threads out. Kept verbatim, in the order they came.
 */
#include "core/session.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/map.h"
#include "core/parse.h"
#include "core/thread_store.h"
#include "core/vectors.h"
#include "core/words.h"

enum { NAME_MAX_BYTES = 256, METADATA_MAX_BYTES = 64 << 10 };

static const struct str roles[] = {STR_INIT("user"), STR_INIT("assistant"), STR_INIT("system"), STR_INIT("tool"),
				   STR_INIT("person")};
static const struct str members[] = {STR_INIT("thread"), STR_INIT("id"),      STR_INIT("user"), STR_INIT("role"),
				     STR_INIT("name"),	 STR_INIT("content"), STR_INIT("time"), STR_INIT("metadata")};

static enum err bad(const char *field, const char *member, const char *why)
{
	char where[160];

	snprintf(where, sizeof where, "%.120s/%s", field, member);
	return err_field(E_INVALID, where, -1, "%s %s", member, why);
}

static enum err text_check(struct str s, const char *field, const char *member, size_t min, size_t max)
{
	char why[80];

	if (s.n < min)
		return bad(field, member, "is missing or empty");
	if (s.n > max) {
		snprintf(why, sizeof why, "has %zu bytes, at most %zu are allowed", s.n, max);
		return bad(field, member, why);
	}
	/* Content may hold any character that JSON can say; names of things may not. */
	if (max <= NAME_MAX_BYTES && s.n > 0 && memchr(s.p, 0, s.n))
		return bad(field, member, "cannot contain U+0000");
	return OK;
}

/* A string member; absent and null give "". */
static enum err text_member(struct arena *a, struct jval obj, const char *field, const char *member, size_t min, size_t max,
			    struct str *out)
{
	struct jval v = j_get(obj, str_c(member));

	*out = STR("");
	if (!j_null(v)) {
		if (!j_is(v, JSON_STRING))
			return bad(field, member, "must be a string");
		*out = j_str(a, v);
		if (!out->p)
			return E_NOMEM;
	}
	return text_check(*out, field, member, min, max);
}

static bool is_role(struct str s)
{
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
		if (str_eq(s, roles[i]))
			return true;
	return false;
}

/* What holds for a message however it was made. */
static enum err message_check(const struct message *m, const char *field)
{
	TRY(text_check(m->thread, field, "thread", 1, THREAD_MAX_BYTES));
	TRY(text_check(m->mid, field, "id", 0, NAME_MAX_BYTES));
	TRY(text_check(m->user, field, "user", 0, NAME_MAX_BYTES));
	TRY(text_check(m->name, field, "name", 0, NAME_MAX_BYTES));
	TRY(text_check(m->content, field, "content", 0, MESSAGE_MAX_BYTES));
	TRY(text_check(m->metadata, field, "metadata", 0, METADATA_MAX_BYTES));
	if (!is_role(m->role))
		return bad(field, "role", "must be one of user, assistant, system, tool, person");
	return OK;
}

enum err message_from_json(struct arena *a, struct jval v, const char *field, bool strict, struct message *out)
{
	struct str time;
	struct jval content, metadata;

	*out = (struct message){0};
	if (!j_is(v, JSON_OBJECT))
		return err_field(E_INVALID, field, -1, "a message must be an object with thread, role and content");
	if (strict)
		TRY(j_only(v, members, sizeof members / sizeof members[0]));
	TRY(text_member(a, v, field, "thread", 1, THREAD_MAX_BYTES, &out->thread));
	TRY(text_member(a, v, field, "id", 0, NAME_MAX_BYTES, &out->mid));
	TRY(text_member(a, v, field, "user", 0, NAME_MAX_BYTES, &out->user));
	TRY(text_member(a, v, field, "role", 1, 16, &out->role));
	TRY(text_member(a, v, field, "name", 0, NAME_MAX_BYTES, &out->name));
	content = j_get(v, STR("content"));
	if (!j_is(content, JSON_STRING))
		return bad(field, "content", "must be a string");
	out->content = j_str(a, content);
	if (!out->content.p)
		return E_NOMEM;
	TRY(text_member(a, v, field, "time", 0, 64, &time));
	if (time.n > 0 && clock_parse(time, &out->time_us) != OK)
		return bad(field, "time", "must be RFC 3339, such as 2026-08-20T07:02:48Z");
	metadata = j_get(v, STR("metadata"));
	out->metadata = STR("");
	if (!j_null(metadata)) {
		if (!j_is(metadata, JSON_OBJECT))
			return bad(field, "metadata", "must be an object");
		out->metadata = j_raw(metadata);
	}
	return message_check(out, field);
}

void message_to_json(struct jw *w, const struct message *m)
{
	char time[CLOCK_TEXT_MAX];

	jw_obj(w);
	jw_key(w, "thread");
	jw_str(w, m->thread);
	jw_key(w, "id");
	jw_str(w, m->mid);
	if (m->user.n > 0) {
		jw_key(w, "user");
		jw_str(w, m->user);
	}
	jw_key(w, "role");
	jw_str(w, m->role);
	if (m->name.n > 0) {
		jw_key(w, "name");
		jw_str(w, m->name);
	}
	jw_key(w, "content");
	jw_str(w, m->content);
	if (m->time_us != 0) {
		size_t n = clock_format(m->time_us, CLOCK_MICROS_Z, time);

		jw_key(w, "time");
		jw_str(w, str_of(time, n));
	}
	if (m->metadata.n > 0) {
		jw_key(w, "metadata");
		jw_raw(w, m->metadata);
	}
	jw_end_obj(w);
}

/* ------------------------------------------------------------ default ids */

static void hash_part(struct sha256 *h, struct str s)
{
	uint64_t n = s.n;
	uint8_t len[8];

	/* The length in front keeps ("a", "bc") and ("ab", "c") apart; byte by byte, so that every machine gets the same. */
	for (int i = 0; i < 8; i++)
		len[i] = (uint8_t)(n >> (8 * i));
	sha256_add(h, len, sizeof len);
	sha256_add(h, s.p, s.n);
}

static void message_hash(const struct message *m, uint64_t ordinal, uint8_t out[SHA256_BYTES])
{
	struct sha256 h;
	char digits[CLOCK_TEXT_MAX];

	sha256_init(&h);
	hash_part(&h, m->thread);
	hash_part(&h, str_of(digits, (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)ordinal)));
	hash_part(&h, m->role);
	hash_part(&h, m->name);
	hash_part(&h, str_of(digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)m->time_us)));
	hash_part(&h, m->content);
	sha256_end(&h, out);
}

struct str message_default_id(struct arena *a, const struct message *m, uint64_t ordinal)
{
	uint8_t digest[SHA256_BYTES];
	char hex[33];

	message_hash(m, ordinal, digest);
	hex_encode(digest, 16, hex);
	return arena_str(a, str_of(hex, 32));
}

/* seen counts equal messages: digest of ordinal 0 -> how many came before. */
enum err session_fill_ids(struct arena *a, struct message *msgs, size_t n)
{
	struct map seen;
	enum err e = OK;

	map_init(&seen);
	for (size_t i = 0; i < n; i++) {
		uint8_t digest[SHA256_BYTES];
		struct str key = str_of((const char *)digest, sizeof digest);
		uintptr_t before;

		if (msgs[i].mid.n > 0)
			continue;
		message_hash(&msgs[i], 0, digest);
		before = (uintptr_t)map_get(&seen, key);
		msgs[i].mid = message_default_id(a, &msgs[i], before);
		if (!msgs[i].mid.p) {
			e = E_NOMEM;
			goto out;
		}
		CHECK(map_put(&seen, key, (void *)(before + 1), NULL));
	}
out:
	map_release(&seen);
	return e;
}

/* ----------------------------------------------------------------- append */

/* Whose message it is: its own word, else the principal's user; a bound principal speaks for itself only. */
static enum err settle_user(const struct principal *who, struct message *m, const char *field)
{
	if (m->user.n == 0)
		m->user = who->user;
	if (who->user_bound && !str_eq(m->user, who->user)) {
		enum err e = err_set(E_DENIED, "this key belongs to one user and cannot store messages of another");

		snprintf(diag_get()->field, sizeof diag_get()->field, "%.100s/user", field);
		return e;
	}
	return OK;
}

struct append_job {
	struct memory *m;
	struct arena *a;
	const struct principal *who;
	struct message *msgs;
	size_t n;
};

/* Checks, ids and index documents; pure computation, may run on the pool. */
static enum err append_prepare(void *arg)
{
	const struct append_job *j = arg;
	struct words *words = memory_words(j->m);

	for (size_t i = 0; i < j->n; i++) {
		struct message *m = &j->msgs[i];
		struct doc_message_in in = {m->content, m->name, m->role, m->time_us};
		char field[32];

		snprintf(field, sizeof field, "/messages/%zu", i);
		TRY(message_check(m, field));
		TRY(settle_user(j->who, m, field));
		if (m->terms.n == 0)
			TRY(doc_of_message(j->a, words_language(words, m->thread), &in, &m->terms));
	}
	return session_fill_ids(j->a, j->msgs, j->n);
}

enum err session_append(struct memory *m, struct arena *a, const struct principal *who, struct message *msgs, size_t n,
			size_t *stored, size_t *unchanged)
{
	struct store *s = memory_store(m);
	struct append_job job = {m, a, who, msgs, n};
	size_t bytes = 0;

	*stored = *unchanged = 0;
	TRY(principal_check(who, RIGHT_WRITE));
	if (n > MESSAGES_PER_CALL)
		return err_field(E_LIMIT, "/messages", -1, "a call takes at most %d messages, this one has %zu", MESSAGES_PER_CALL,
				 n);
	for (size_t i = 0; i < n; i++)
		bytes += msgs[i].content.n + 128;
	TRY(run_sized(bytes, append_prepare, &job));
	if (n > 0)
		TRY(s->ops->message_append(s, who, msgs, n));
	for (size_t i = 0; i < n; i++)
		*(msgs[i].stored ? stored : unchanged) += 1;
	if (*stored > 0)
		vectors_wake(memory_vectors(m), who->tenant);
	return OK;
}

/* ------------------------------------------------------------------- read */

struct gather {
	struct arena *a;
	struct message *messages;
	struct thread_info *threads;
	size_t n;
	enum err err;
};

/* Copies every slice of a message; sets *e when the arena is full. */
static void copy(struct arena *a, struct str *s, enum err *e)
{
	*s = arena_str(a, *s);
	if (!s->p)
		*e = E_NOMEM;
}

static bool on_message(void *ctx, const struct message *in)
{
	struct gather *g = ctx;
	struct message *m = &g->messages[g->n];

	*m = *in;
	m->terms = STR("");
	copy(g->a, &m->thread, &g->err);
	copy(g->a, &m->mid, &g->err);
	copy(g->a, &m->user, &g->err);
	copy(g->a, &m->role, &g->err);
	copy(g->a, &m->name, &g->err);
	copy(g->a, &m->content, &g->err);
	copy(g->a, &m->metadata, &g->err);
	g->n++;
	return g->err == OK;
}

static bool on_thread(void *ctx, const struct thread_info *in)
{
	struct gather *g = ctx;
	struct thread_info *t = &g->threads[g->n];

	*t = *in;
	copy(g->a, &t->thread, &g->err);
	copy(g->a, &t->user, &g->err);
	copy(g->a, &t->metadata, &g->err);
	copy(g->a, &t->config, &g->err);
	g->n++;
	return g->err == OK;
}

static enum err gathered(const struct gather *g)
{
	return g->err == OK ? OK : err_set(E_NOMEM, "the answer is too large; ask for fewer at once");
}

enum err session_messages(struct memory *m, struct arena *a, const struct principal *who, struct str thread, int64_t from,
			  size_t limit, struct message **out, size_t *n)
{
	struct store *s = memory_store(m);
	struct gather g = {.a = a};

	*n = 0;
	TRY(principal_check(who, RIGHT_READ));
	TRY(text_check(thread, "", "thread", 1, THREAD_MAX_BYTES));
	g.messages = ARENA_ARRAY(a, struct message, limit + 1);
	if (!g.messages)
		return E_NOMEM;
	TRY(s->ops->message_list(s, who, thread, from, limit, on_message, &g));
	*out = g.messages;
	*n = g.n;
	return gathered(&g);
}

enum err session_threads(struct memory *m, struct arena *a, const struct principal *who, const struct str *user, struct str after,
			 size_t limit, struct thread_info **out, size_t *n)
{
	struct store *s = memory_store(m);
	struct gather g = {.a = a};

	*n = 0;
	TRY(principal_check(who, RIGHT_READ));
	if (who->user_bound) {
		if (user && user->p && !str_eq(*user, who->user))
			return err_set(E_DENIED, "this key belongs to one user and sees no threads of another");
		user = &who->user;
	}
	g.threads = ARENA_ARRAY(a, struct thread_info, limit + 1);
	if (!g.threads)
		return E_NOMEM;
	TRY(s->ops->thread_list(s, who, user, after, limit, on_thread, &g));
	*out = g.threads;
	*n = g.n;
	return gathered(&g);
}

enum err session_delete(struct memory *m, const struct principal *who, struct str thread)
{
	struct store *s = memory_store(m);

	TRY(principal_check(who, RIGHT_WRITE));
	TRY(text_check(thread, "", "thread", 1, THREAD_MAX_BYTES));
	return s->ops->threads->remove(s, who, thread, THREAD_ALL);
}
