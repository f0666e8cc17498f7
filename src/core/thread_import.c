/* Reading a thread from its text. See thread_file.h.
 *
 *  1. The checksum is right before anything is written.
 *  2. The record is written first, on condition that nothing lies under the name: so two imports of one name do not mix.
 *  3. Lines go into the store in the order of the text, many in one transaction. */
#include "core/thread_file.h"

#include <stdio.h>

#include "base/hash.h"
#include "core/checkpoint.h"
#include "core/parse.h"
#include "core/thread.h"

enum { LOT_MESSAGES = 1000, LOT_ENTRIES = 1000, LOT_CHANGES = 400 };
#define LOT_BYTES ((size_t)8 << 20)
#define LOT_ARENA ((size_t)2 << 30)

struct import {
	struct memory *m;
	const struct principal *who;
	struct arena lot; /* what waits to be written */
	struct str thread;
	struct message *messages;
	struct session_entry *entries;
	struct ckpt_change *changes;
	size_t messages_n, entries_n, changes_n, changes_cap, bytes;
	size_t line; /* 1.. */
	struct thread_imported *out;
};

static const struct json_limits line_limits = {1000, 8000000, (size_t)1 << 30, JSON_DUP_OK};

static enum err bad(struct import *i, const char *why)
{
	char field[40];

	snprintf(field, sizeof field, "line %zu", i->line);
	return err_field(E_INVALID, field, -1, "line %zu: %s", i->line, why);
}

/* ------------------------------------------------------------------ writing */

static enum err begin_lot(struct import *i)
{
	arena_clear(&i->lot);
	i->messages_n = i->entries_n = i->changes_n = i->bytes = 0;
	i->messages = ARENA_ARRAY(&i->lot, struct message, LOT_MESSAGES);
	i->entries = ARENA_ARRAY(&i->lot, struct session_entry, LOT_ENTRIES);
	i->changes_cap = LOT_CHANGES;
	i->changes = ARENA_ARRAY(&i->lot, struct ckpt_change, LOT_CHANGES);
	return i->messages && i->entries && i->changes ? OK : E_NOMEM;
}

/* Entries that another program wrote may be JSON in Python's sense only, so they go past the check of entries_append. */
static enum err write_entries(struct import *i)
{
	struct store *s = memory_store(i->m);
	struct entry_append e = {.thread = i->thread, .v = i->entries, .n = i->entries_n};

	return s->ops->threads->append(s, i->who, &e);
}

static enum err write_lot(struct import *i)
{
	size_t stored, unchanged;

	if (i->messages_n > 0)
		TRY(session_append(i->m, &i->lot, i->who, i->messages, i->messages_n, &stored, &unchanged));
	if (i->entries_n > 0)
		TRY(write_entries(i));
	for (size_t from = 0; from < i->changes_n; from += LOT_CHANGES) {
		size_t n = i->changes_n - from < LOT_CHANGES ? i->changes_n - from : LOT_CHANGES;

		TRY(ckpt_write(i->m, &i->lot, i->who, i->changes + from, n));
	}
	return begin_lot(i);
}

/* -------------------------------------------------------------------- lines */

static enum err str_member(struct import *i, struct jval obj, const char *name, struct str *out)
{
	struct jval v = j_get(obj, str_c(name));
	char why[80];

	*out = STR("");
	if (j_null(v))
		return OK;
	snprintf(why, sizeof why, "%s must be a string", name);
	if (!j_is(v, JSON_STRING))
		return bad(i, why);
	*out = j_str(&i->lot, v);
	return out->p ? OK : E_NOMEM;
}

static enum err object_member(struct import *i, struct jval obj, const char *name, struct str *out)
{
	struct jval v = j_get(obj, str_c(name));
	char why[80];

	snprintf(why, sizeof why, "%s must be an object", name);
	if (!j_is(v, JSON_OBJECT))
		return bad(i, why);
	*out = j_raw(v);
	return OK;
}

/* Elements of a row: texts, but for the one at num (-1: none); the last is base64url. */
static enum err read_row(struct import *i, struct jval row, int num, struct str *texts, size_t n, int64_t *number)
{
	size_t k = 0, room;
	struct jval v;
	uint8_t *bytes;

	if (!j_is(row, JSON_ARRAY) || j_node(row)->count != n)
		return bad(i, "a row of values has four elements, one of writes six");
	for (struct j_iter it = j_iter(row); j_next(&it, NULL, &v); k++) {
		if ((int)k == num) {
			if (!j_i64(v, number) || *number < INT32_MIN || *number > INT32_MAX)
				return bad(i, "idx must be a number");
			continue;
		}
		if (!j_is(v, JSON_STRING))
			return bad(i, "elements of values and writes are texts");
		texts[k] = j_str(&i->lot, v);
		if (!texts[k].p)
			return E_NOMEM;
	}
	room = texts[n - 1].n;
	bytes = arena_alloc(&i->lot, room + 1);
	if (!bytes)
		return E_NOMEM;
	if (!base64url_decode(texts[n - 1], bytes, &room))
		return bad(i, "bytes are base64url without padding");
	texts[n - 1] = str_of((const char *)bytes, room);
	return OK;
}

static enum err read_values(struct import *i, struct jval list, struct ckpt_change *c)
{
	struct ckpt_value *v;
	struct jval row;

	if (!j_is(list, JSON_ARRAY))
		return bad(i, "values must be an array");
	c->values = v = ARENA_ARRAY(&i->lot, struct ckpt_value, j_node(list)->count + 1);
	if (!v)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &row); c->values_n++) {
		struct str t[4];

		TRY(read_row(i, row, -1, t, 4, NULL));
		v[c->values_n] = (struct ckpt_value){t[0], t[1], t[2], t[3]};
		i->bytes += t[3].n;
	}
	return OK;
}

static enum err add_change(struct import *i, const struct ckpt_change *c)
{
	if (i->changes_n == i->changes_cap) {
		size_t cap = i->changes_cap * 2;
		struct ckpt_change *grown = arena_grow(&i->lot, i->changes, i->changes_cap * sizeof *grown, cap * sizeof *grown);

		if (!grown)
			return E_NOMEM;
		i->changes = grown;
		i->changes_cap = cap;
	}
	i->changes[i->changes_n++] = *c;
	return OK;
}

/* Rows of one task after the other; each task's are a change of its own. */
static enum err read_writes(struct import *i, struct jval list, const struct ckpt_change *of)
{
	struct ckpt_change c = {.op = CK_WRITES, .thread = of->thread, .ns = of->ns, .id = of->id};
	struct ckpt_pending *v;
	struct jval row;
	size_t n = 0;

	if (!j_is(list, JSON_ARRAY))
		return bad(i, "writes must be an array");
	v = ARENA_ARRAY(&i->lot, struct ckpt_pending, j_node(list)->count + 1);
	if (!v)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &row); n++) {
		struct str t[6] = {0};
		int64_t idx = 0;

		TRY(read_row(i, row, 2, t, 6, &idx));
		v[n] = (struct ckpt_pending){t[0], t[1], t[3], t[4], t[5], (int32_t)idx};
		i->bytes += t[5].n;
	}
	for (size_t from = 0, to; from < n; from = to) {
		for (to = from + 1; to < n && str_eq(v[to].task_id, v[from].task_id); to++)
			;
		c.writes = v + from;
		c.writes_n = to - from;
		TRY(add_change(i, &c));
	}
	return OK;
}

static enum err read_checkpoint(struct import *i, struct jval v)
{
	struct ckpt_change c = {.op = CK_PUT, .thread = i->thread};

	TRY(str_member(i, v, "ns", &c.ns));
	TRY(str_member(i, v, "id", &c.id));
	TRY(str_member(i, v, "parent", &c.parent));
	TRY(object_member(i, v, "checkpoint", &c.checkpoint));
	TRY(object_member(i, v, "metadata", &c.metadata));
	TRY(read_values(i, j_get(v, STR("values")), &c));
	TRY(add_change(i, &c));
	i->out->checkpoints++;
	return read_writes(i, j_get(v, STR("writes")), &c);
}

static enum err read_message(struct import *i, struct jval v)
{
	struct message *to = &i->messages[i->messages_n];
	char field[40];

	snprintf(field, sizeof field, "line %zu/message", i->line);
	TRY(message_from_json(&i->lot, v, field, true, to));
	to->thread = i->thread;
	i->messages_n++;
	i->out->messages++;
	return OK;
}

static enum err read_entry(struct import *i, struct jval v, bool text)
{
	struct str data = text ? str_trim(j_str(&i->lot, v)) : j_raw(v);

	if (data.n < 2 || data.p[0] != '{' || data.p[data.n - 1] != '}' || data.n > ENTRY_MAX_BYTES)
		return bad(i, "an entry is a JSON object of at most 8 MiB");
	i->bytes += data.n;
	i->entries[i->entries_n++] = (struct session_entry){.data = data};
	i->out->entries++;
	return OK;
}

static enum err read_line(struct import *i, struct str line)
{
	struct json *doc = ARENA_NEW(&i->lot, struct json);
	struct jval root, v;

	if (!doc)
		return E_NOMEM;
	if (json_parse(&i->lot, line, &line_limits, doc) != OK)
		return bad(i, diag_get()->text);
	root = json_root(doc);
	if (!j_is(root, JSON_OBJECT) || j_node(root)->count != 1)
		return bad(i, "must be an object with one member: message, entry, entry_text or checkpoint");
	i->bytes += line.n / 4;
	v = j_get(root, STR("checkpoint"));
	if (j_is(v, JSON_OBJECT))
		return read_checkpoint(i, v);
	v = j_get(root, STR("message"));
	if (j_is(v, JSON_OBJECT))
		return read_message(i, v);
	v = j_get(root, STR("entry"));
	if (j_is(v, JSON_OBJECT))
		return read_entry(i, v, false);
	v = j_get(root, STR("entry_text"));
	if (j_is(v, JSON_STRING))
		return read_entry(i, v, true);
	return bad(i, "must be an object with one member: message, entry, entry_text or checkpoint");
}

/* ------------------------------------------------------------------- import */

static bool next_line(struct str *rest, struct str *line)
{
	if (rest->n == 0)
		return false;
	str_cut(*rest, '\n', line, rest);
	return true;
}

struct sum_job {
	struct arena *a;
	struct str text; /* in and out: without its last line */
};
static enum err check_sum(void *arg)
{
	struct arena *a = ((struct sum_job *)arg)->a;
	struct str *text = &((struct sum_job *)arg)->text;
	struct str t = str_trim(*text), last;
	uint8_t want[SHA256_BYTES], got[SHA256_BYTES];
	size_t from = t.n;
	struct json doc;
	struct jval v;

	while (from > 0 && t.p[from - 1] != '\n')
		from--;
	last = str_sub(t, from, t.n);
	t = str_of(text->p, (size_t)(last.p - text->p));
	if (last.n > 200 || json_parse(a, last, &json_default_limits, &doc) != OK)
		return err_set(E_INVALID,
			       "the last line must be {\"sha256\":\"...\"}: the text was cut off, or is no exported thread");
	v = j_get(json_root(&doc), STR("sha256"));
	if (!j_is(v, JSON_STRING) || !hex_decode(j_str(a, v), want, sizeof want))
		return err_set(E_INVALID,
			       "the last line must be {\"sha256\":\"...\"}: the text was cut off, or is no exported thread");
	sha256_of(t, got);
	if (memcmp(got, want, sizeof got) != 0)
		return err_set(E_INVALID, "the checksum of the last line does not fit the lines above it: the text was altered");
	*text = t;
	return OK;
}

static enum err read_head(struct import *i, struct arena *a, struct str line, struct str to)
{
	struct json doc;
	int64_t version;

	i->line = 1;
	if (json_parse(a, line, &line_limits, &doc) != OK)
		return bad(i, diag_get()->text);
	if (!j_i64(j_get(json_root(&doc), STR("cenote_thread")), &version))
		return bad(i, "must have cenote_thread: this is no exported thread");
	if (version != 1)
		return bad(i, "cenote_thread must be 1; a newer program wrote this");
	i->thread = to;
	if (to.n == 0) {
		struct jval v = j_get(json_root(&doc), STR("thread"));

		i->thread = j_is(v, JSON_STRING) ? j_str(a, v) : STR("");
	}
	return thread_check(i->thread, to.n ? "to" : "line 1/thread");
}

static enum err put_record(struct import *i, struct arena *a, struct str line)
{
	struct thread_record r = {.thread = i->thread};
	struct json doc;
	struct jval v, ttl;
	struct str strategy;

	i->line = 2;
	if (json_parse(a, line, &line_limits, &doc) != OK)
		return bad(i, diag_get()->text);
	v = j_get(json_root(&doc), STR("record"));
	if (!j_is(v, JSON_OBJECT))
		return bad(i, "must be the record");
	TRY(str_member(i, v, "user", &r.user));
	TRY(object_member(i, v, "metadata", &r.metadata));
	TRY(object_member(i, v, "config", &r.config));
	TRY(str_member(i, v, "ttl_strategy", &strategy));
	ttl = j_get(v, STR("ttl_minutes"));
	if (!j_null(ttl) && (!j_double(ttl, &r.ttl_minutes) || r.ttl_minutes < 0))
		return bad(i, "ttl_minutes must be a number of minutes");
	r.ttl_strategy = str_eq(strategy, STR("keep_latest")) ? TTL_KEEP_LATEST : TTL_DELETE;
	return thread_put(i->m, i->who, &r, IF_ABSENT);
}

struct line_job {
	struct import *i;
	struct str line;
};
static enum err line_job(void *arg)
{
	struct line_job *j = arg;

	return read_line(j->i, j->line);
}

static enum err import_lines(struct import *i, struct str rest)
{
	struct str line;

	TRY(begin_lot(i));
	while (next_line(&rest, &line)) {
		i->line++;
		if (str_trim(line).n == 0)
			continue;
		TRY(run_sized(line.n, line_job, &(struct line_job){i, line}));
		if (i->messages_n == LOT_MESSAGES || i->entries_n == LOT_ENTRIES || i->changes_n >= LOT_CHANGES / 2 ||
		    i->bytes >= LOT_BYTES)
			TRY(write_lot(i));
	}
	return write_lot(i);
}

enum err thread_import(struct memory *m, struct arena *a, const struct principal *who, struct str text, struct str to,
		       struct thread_imported *out)
{
	struct import i = {.m = m, .who = who, .out = out};
	struct sum_job sum = {a, text};
	struct str line = STR("");
	enum err e;

	*out = (struct thread_imported){0};
	arena_init(&i.lot, LOT_ARENA);
	CHECK(principal_check(who, RIGHT_WRITE));
	CHECK(run_sized(text.n, check_sum, &sum));
	text = sum.text;
	(void)next_line(&text, &line);
	CHECK(read_head(&i, a, line, to));
	line = STR("");
	(void)next_line(&text, &line);
	CHECK(put_record(&i, a, line));
	out->thread = i.thread;
	e = import_lines(&i, text);
	if (e != OK) {
		struct diag why = *diag_get();

		if (session_delete(m, who, i.thread) == OK)
			*diag_get() = why;
		else
			e = err_wrap(e, "%s; and what was written before cannot be removed", why.text);
	}
out:
	arena_release(&i.lot);
	return e;
}
