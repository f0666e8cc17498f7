/* Import of many lines: parsed and prepared on the CPU pool, then written in as few transactions as there can be.
 *
 * Items are first written all at once under the condition that they are absent: filling an empty store costs one write an item and
 * no read. Those that exist are then compared, and written again under the condition of the version that was compared; so a write
 * of somebody else in between is never lost, only compared anew.
 *
 * Invariants
 *  1. Lines under one name take effect in their order: a round writes at most one line of each name, the first that is pending.
 *  2. Every line ends as stored, unchanged or failed, exactly once. */
#include "core/portable.h"

#include <stdlib.h>

#include "base/map.h"
#include "core/memory_impl.h"
#include "core/parse.h"
#include "core/vectors.h"

enum { STALLS_MAX = 8 };
/* Room for the tapes and index documents of one call. */
static const size_t work_bytes = (size_t)512 << 20;

enum fate { PENDING, STORED, UNCHANGED, FAILED };

struct line {
	enum fate fate;
	size_t number;
	bool is_message, is_state;
	struct op_put put;
	struct item_write write;
	int64_t seen_version;
	struct str detail, field; /* FAILED; in the caller's arena */
	enum err code;
	enum err_kind kind;
};

struct import {
	struct memory *m;
	struct arena *a;   /* of the caller: results */
	struct arena work; /* all else */
	const struct principal *who;
	struct str text;
	enum import_conflict on_conflict;
	bool lenient;
	struct line *lines;
	size_t n;
	struct message *messages;
	struct line **message_line;
	size_t messages_n;
	struct fact_state *states; /* of histories */
	struct line **state_line;
	size_t states_n;
};

enum err import_conflict_parse(struct str s, enum import_conflict *out)
{
	static const struct str names[] = {STR_INIT("replace"), STR_INIT("skip"), STR_INIT("fail")};

	for (size_t i = 0; i < 3; i++)
		if (str_eq(s, names[i])) {
			*out = (enum import_conflict)i;
			return OK;
		}
	return err_field(E_INVALID, "on_conflict", -1, "on_conflict is replace, skip or fail");
}

/* The line is wrong: what the diagnostic says goes into the answer. */
static enum err line_fail(struct import *im, struct line *l)
{
	struct str field = str_c(diag_get()->field), first = STR("/messages/0");

	/* A message that was appended alone stands first in its call. */
	if (str_starts(field, first))
		field = str_sub(field, first.n, field.n);
	if (field.n > 0 && field.p[0] != '/')
		field = arena_printf(im->a, "/%.*s", STR_ARG(field));
	l->fate = FAILED;
	l->code = diag_get()->code;
	l->kind = diag_get()->kind;
	l->detail = arena_str(im->a, str_c(diag_get()->text));
	l->field = arena_str(im->a, field);
	return l->detail.p && l->field.p ? OK : E_NOMEM;
}

/* Errors of the line itself; any other ends the import. */
static bool is_local(enum err e)
{
	return e == E_INVALID || e == E_DENIED || e == E_CONFLICT || (e == E_LIMIT && diag_get()->kind == ERR_SIZE);
}

/* ------------------------------------------------------------------ prepare */

static enum err read_state(struct import *im, struct jval v, struct line *l)
{
	struct fact_state *f = &im->states[im->states_n];
	struct op_put as_item;

	l->is_state = true;
	TRY(state_from_json(&im->work, v, "", !im->lenient, f));
	/* The same checks as of an item, and its index document. */
	as_item = (struct op_put){.ns = f->ns, .key = f->key, .value = f->value, .ttl_minutes = TTL_DEFAULT};
	TRY(memory_prepare(im->m, &im->work, im->who, &as_item, &l->write));
	f->value = l->write.value;
	f->terms = l->write.terms;
	im->state_line[im->states_n++] = l;
	return OK;
}

static enum err read_line(struct import *im, struct str text, struct line *l, bool *skip)
{
	struct json_limits lim = json_default_limits;
	struct json *doc = ARENA_NEW(&im->work, struct json);
	struct jval v;

	*skip = false;
	if (!doc)
		return E_NOMEM;
	lim.depth += 4;
	TRY(parse_refusal(json_parse(&im->work, text, &lim, doc)));
	v = json_root(doc);
	if (j_ok(j_get(v, STR("cenote_export")))) {
		*skip = true;
		return OK;
	}
	l->is_message = j_ok(j_get(v, STR("thread"))) || j_ok(j_get(v, STR("role")));
	if (l->is_message) {
		TRY(message_from_json(&im->work, v, "", !im->lenient, &im->messages[im->messages_n]));
		im->message_line[im->messages_n++] = l;
		return OK;
	}
	if (!j_is(v, JSON_OBJECT) || !(j_ok(j_get(v, STR("namespace"))) || j_ok(j_get(v, STR("key")))))
		return err_set(E_INVALID, "neither an item (namespace, key, value) nor a message (thread, role, content)");
	if (j_ok(j_get(v, STR("recorded_to"))))
		return read_state(im, v, l);
	TRY(item_from_json(&im->work, v, "", !im->lenient, &l->put));
	l->put.cond = IF_ABSENT;
	return memory_prepare(im->m, &im->work, im->who, &l->put, &l->write);
}

/* Counts the lines and makes room for them. */
static enum err make_room(struct import *im)
{
	size_t count = 1;

	for (ptrdiff_t at = -1; (at = str_chr(im->text, '\n', (size_t)(at + 1))) >= 0;)
		count++;
	if (count > IMPORT_MAX_LINES + 1)
		return err_kind(E_LIMIT, ERR_SIZE, "a call imports at most %d lines, this one has %zu", IMPORT_MAX_LINES, count);
	im->lines = arena_zalloc(&im->work, count * sizeof *im->lines);
	im->messages = ARENA_ARRAY(&im->work, struct message, count);
	im->message_line = ARENA_ARRAY(&im->work, struct line *, count);
	im->states = ARENA_ARRAY(&im->work, struct fact_state, count);
	im->state_line = ARENA_ARRAY(&im->work, struct line *, count);
	return im->lines && im->messages && im->message_line && im->states && im->state_line ? OK : E_NOMEM;
}

/* Pure computation; may run on the pool. */
static enum err prepare(void *arg)
{
	struct import *im = arg;
	struct str text, rest = im->text;
	bool more = true, skip;

	TRY(make_room(im));
	for (size_t number = 1; more; number++) {
		struct line *l = &im->lines[im->n];
		enum err e;

		more = str_cut(rest, '\n', &text, &rest);
		text = str_trim(text);
		if (text.n == 0)
			continue;
		*l = (struct line){.number = number};
		e = read_line(im, text, l, &skip);
		if (e != OK && !is_local(e))
			return err_wrap(e, "line %zu", number);
		if (e != OK)
			TRY(line_fail(im, l));
		if (!skip || e != OK)
			im->n++;
	}
	return session_fill_ids(&im->work, im->messages, im->messages_n);
}

/* -------------------------------------------------------------------- items */

/* Writes some lines (each under its condition) and settles those that went through; *done counts them. */
static enum err write_lines(struct import *im, struct line **ls, size_t n, size_t *done)
{
	struct item_write *w;
	struct store *s = memory_store(im->m);

	if (n == 0)
		return OK;
	w = ARENA_ARRAY(&im->work, struct item_write, n);
	if (!w)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		w[i] = ls[i]->write;
	TRY(s->ops->item_write(s, im->who, w, n, false));
	vectors_wake(memory_vectors(im->m), im->who->tenant);
	for (size_t i = 0; i < n; i++) {
		if (w[i].err != OK)
			continue;
		ls[i]->fate = STORED;
		memory_finish(im->m, &ls[i]->put, &w[i]);
		++*done;
	}
	return OK;
}

/* Whether the stored item is what the line says, as far as it says it. */
static bool same(const struct item *it, const struct item_write *w)
{
	bool as_true =
		!w->fact || (it->fact && it->valid_from_us == w->fact->valid_from_us && it->valid_to_us == w->fact->valid_to_us);

	return as_true && str_eq(it->value, w->value) && it->ttl_minutes == w->ttl_minutes &&
	       (w->created_us == 0 || w->created_us == it->created_us) && (w->updated_us == 0 || w->updated_us == it->updated_us);
}

/* Looks at what is stored under the line's name and settles the line, or arms its write with a condition (*write). */
static enum err compare(struct import *im, struct line *l, bool *write)
{
	struct store *s = memory_store(im->m);
	struct arena look;
	struct item it;
	bool found;
	enum err e;

	*write = true;
	arena_init(&look, (size_t)8 << 20);
	CHECK(s->ops->item_get(s, &look, im->who, l->write.ns, l->write.key, 0, &it, &found));
	if (!found) {
		l->write.cond = IF_ABSENT;
		goto out;
	}
	l->write.cond = IF_VERSION;
	l->write.if_version = it.version;
	if (same(&it, &l->write) || im->on_conflict == IMPORT_SKIP) {
		l->fate = UNCHANGED;
		*write = false;
	} else if (im->on_conflict == IMPORT_FAIL) {
		(void)err_field(E_CONFLICT, "/key", -1, "the item exists already with another value or other times");
		*write = false;
		e = line_fail(im, l);
	}
out:
	arena_release(&look);
	return e;
}

/* The pending items that exist already: in rounds of one line a name. */
static enum err one_round(struct import *im, struct line **ls, size_t *pending, size_t *done)
{
	struct map names;
	size_t n = 0;
	enum err e = OK;

	*pending = 0;
	map_init(&names);
	for (size_t i = 0; i < im->n; i++) {
		struct line *l = &im->lines[i];
		struct str name;
		bool write;

		if (l->is_message || l->is_state || l->fate != PENDING)
			continue;
		++*pending;
		name = arena_printf(&im->work, "%.*s%c%.*s", STR_ARG(l->write.ns), 0, STR_ARG(l->write.key));
		if (!name.p) {
			e = E_NOMEM;
			goto out;
		}
		if (map_get(&names, name))
			continue;
		CHECK(map_put(&names, name, l, NULL));
		CHECK(compare(im, l, &write));
		if (write)
			ls[n++] = l;
		else
			++*done;
	}
	e = write_lines(im, ls, n, done);
out:
	map_release(&names);
	return e;
}

static enum err import_items(struct import *im)
{
	struct line **ls = ARENA_ARRAY(&im->work, struct line *, im->n + 1);
	size_t n = 0, pending = 1, done = 0;
	unsigned stalls = 0;

	if (!ls)
		return E_NOMEM;
	for (size_t i = 0; i < im->n; i++)
		if (!im->lines[i].is_message && !im->lines[i].is_state && im->lines[i].fate == PENDING)
			ls[n++] = &im->lines[i];
	TRY(write_lines(im, ls, n, &done));
	if (done == n)
		return OK;
	while (pending > 0) {
		done = 0;
		TRY(one_round(im, ls, &pending, &done));
		stalls = done > 0 ? 0 : stalls + 1;
		if (pending > 0 && stalls >= STALLS_MAX)
			return err_set(E_BUSY, "others keep changing the items that are imported; try again");
	}
	return OK;
}

/* ------------------------------------------------------------------ history */

/* Keeps [from, to) at once; where the store refuses, halves until the culprits stand alone. What is there already stays; of which
 * lines that was is not known, only of how many. */
static enum err keep_range(struct import *im, size_t from, size_t to)
{
	struct store *s = memory_store(im->m);
	size_t stored, middle = from + (to - from) / 2;
	enum err e = s->ops->facts->keep(s, im->who, im->states + from, to - from, &stored);

	if (e == OK) {
		for (size_t i = from; i < to; i++)
			im->state_line[i]->fate = i - from < stored ? STORED : UNCHANGED;
		return OK;
	}
	if (!is_local(e))
		return e;
	if (to - from == 1)
		return line_fail(im, im->state_line[from]);
	TRY(keep_range(im, from, middle));
	return keep_range(im, middle, to);
}

/* ----------------------------------------------------------------- messages */

/* Appends [from, to) at once; where the store refuses, halves until the culprits stand alone. Depth: log2 of the lines. */
static enum err append_range(struct import *im, size_t from, size_t to)
{
	size_t stored, unchanged, middle = from + (to - from) / 2;
	enum err e = session_append(im->m, &im->work, im->who, im->messages + from, to - from, &stored, &unchanged);

	if (e == OK) {
		for (size_t i = from; i < to; i++)
			im->message_line[i]->fate = im->messages[i].stored ? STORED : UNCHANGED;
		return OK;
	}
	if (!is_local(e))
		return e;
	if (to - from == 1)
		return line_fail(im, im->message_line[from]);
	TRY(append_range(im, from, middle));
	return append_range(im, middle, to);
}

/* ------------------------------------------------------------------ results */

static enum err results(struct import *im, struct import_result *out)
{
	size_t at = 0;

	for (size_t i = 0; i < im->n; i++) {
		out->stored += im->lines[i].fate == STORED;
		out->unchanged += im->lines[i].fate == UNCHANGED;
		out->failed += im->lines[i].fate == FAILED;
	}
	out->errors = ARENA_ARRAY(im->a, struct import_error, out->failed + 1);
	if (!out->errors)
		return E_NOMEM;
	for (size_t i = 0; i < im->n; i++) {
		const struct line *l = &im->lines[i];

		if (l->fate == FAILED)
			out->errors[at++] = (struct import_error){l->number, l->detail, l->field, l->code, l->kind};
	}
	return OK;
}

enum err portable_import(struct memory *m, struct arena *a, const struct principal *who, struct str text,
			 enum import_conflict on_conflict, bool lenient, struct import_result *out)
{
	struct import im = {.m = m, .a = a, .who = who, .text = text, .on_conflict = on_conflict, .lenient = lenient};
	enum err e;

	*out = (struct import_result){0};
	TRY(principal_check(who, RIGHT_WRITE));
	arena_init(&im.work, work_bytes);
	CHECK(run_sized(text.n, prepare, &im));
	CHECK(import_items(&im));
	if (im.states_n > 0) /* after the items, which may move states of their own there */
		CHECK(keep_range(&im, 0, im.states_n));
	if (im.messages_n > 0)
		CHECK(append_range(&im, 0, im.messages_n));
	e = results(&im, out);
out:
	arena_release(&im.work);
	return e;
}
