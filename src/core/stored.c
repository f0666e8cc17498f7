/* See core/stored.h. */
#include "core/stored.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/uuid7.h"
#include "rt/wait.h"

#define CHAIN "chain_"
#define ID "resp_"
enum { NUMBER_HEX = 16, REST_BYTES = 12, CHAIN_BYTES = 16, PAGE = 200, LOOSE_MAX = 2000, LAST_WRITE_MS = 10000, TRIES = 4 };
#define ROOM ((size_t)64 << 20)

/* ---------------------------------------------------------------------- names */

struct str stored_chain(struct arena *a)
{
	uint8_t bytes[CHAIN_BYTES];
	char hex[2 * CHAIN_BYTES + 1];

	random_bytes(bytes, sizeof bytes);
	hex_encode(bytes, sizeof bytes, hex);
	return arena_printf(a, CHAIN "%s", hex);
}

struct str stored_chain_of(struct arena *a, struct str digest)
{
	char hex[2 * CHAIN_BYTES + 1];

	hex_encode((const uint8_t *)digest.p, CHAIN_BYTES, hex);
	return arena_printf(a, CHAIN "%s", hex);
}

struct str stored_id(struct arena *a, int64_t first)
{
	uint8_t bytes[REST_BYTES];
	char hex[2 * REST_BYTES + 1];

	random_bytes(bytes, sizeof bytes);
	hex_encode(bytes, sizeof bytes, hex);
	return arena_printf(a, ID "%016llx%s", (unsigned long long)first, hex);
}

struct value_name {
	char text[48];
};

static struct value_name name_of(int64_t first)
{
	struct value_name name;

	snprintf(name.text, sizeof name.text, META_OF_ENTRY "%lld", (long long)first);
	return name;
}

static enum err unknown(struct str id)
{
	return err_set(E_NOT_FOUND, "there is no response \"%.*s\"", STR_ARG(str_sub(id, 0, 64)));
}

/* The number in an id; false: nobody has given it out. */
static bool number_of(struct str id, int64_t *out)
{
	const size_t at = sizeof ID - 1;
	uint8_t bytes[NUMBER_HEX / 2];
	uint64_t n = 0;

	if (id.n != at + NUMBER_HEX + 2 * REST_BYTES || !str_starts(id, STR(ID)) ||
	    !hex_decode(str_sub(id, at, at + NUMBER_HEX), bytes, sizeof bytes))
		return false;
	for (size_t i = 0; i < sizeof bytes; i++)
		n = n << 8 | bytes[i];
	*out = (int64_t)n;
	return n > 0 && n <= INT64_MAX;
}

/* -------------------------------------------------------------------- the value */

static void write_numbers(struct jw *w, const char *key, const int64_t *v, size_t n)
{
	jw_key(w, key);
	jw_arr(w);
	for (size_t i = 0; i < n; i++)
		jw_i64(w, v[i]);
	jw_end_arr(w);
}

/* What is to be written under a name; "" : nothing is to be there. */
struct writing {
	struct memory *m;
	const struct principal *who;
	struct value_name name;
	struct str value;
};

static enum err write_value(void *arg)
{
	const struct writing *x = arg;
	struct store *s = memory_store(x->m);

	return s->ops->meta_put(s, x->who, str_c(x->name.text), x->value);
}

static enum err write_now(struct writing *x, bool anyway)
{
	return anyway ? wait_shielded(deadline_in_ms(LAST_WRITE_MS), write_value, x) : write_value(x);
}

static void write_stored(const struct stored *x, struct str object, struct buf *b)
{
	struct jw w;

	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "id");
	jw_str(&w, x->id);
	jw_key(&w, "thread");
	jw_str(&w, x->thread);
	jw_key(&w, "chain");
	jw_bool(&w, x->chain);
	jw_key(&w, "ended");
	jw_bool(&w, x->ended);
	jw_key(&w, "hide");
	jw_bool(&w, x->hide);
	write_numbers(&w, "came", x->came, x->came_n);
	write_numbers(&w, "made", x->made, x->made_n);
	jw_key(&w, "object");
	jw_raw(&w, object);
	jw_end_obj(&w);
}

enum err stored_put(struct memory *m, const struct principal *who, const struct stored *x, struct buf *object, bool anyway)
{
	struct writing to = {.m = m, .who = who};
	struct buf b;
	enum err e = object->err;

	buf_init(&b, NULL, STORED_MAX_BYTES);
	if (e == OK)
		e = principal_check(who, RIGHT_WRITE);
	if (e == OK && !x->came_n)
		e = err_set(E_INTERNAL, "a response without an input cannot be kept");
	if (e == OK) {
		(void)buf_room(&b, object->n + 40 * (x->came_n + x->made_n) + x->thread.n + 256);
		write_stored(x, buf_slice(object), &b);
		e = b.err;
	}
	buf_release(object);
	if (e == OK) {
		to.name = name_of(x->came[0]);
		to.value = buf_slice(&b);
		e = write_now(&to, anyway);
	}
	buf_release(&b);
	return e;
}

static enum err read_numbers(struct arena *a, struct jval v, const int64_t **out, size_t *n)
{
	int64_t *numbers = j_is(v, JSON_ARRAY) ? ARENA_ARRAY(a, int64_t, j_node(v)->count + 1) : NULL;
	struct jval one;

	*n = 0;
	if (!numbers)
		return j_is(v, JSON_ARRAY) ? E_NOMEM : err_set(E_CORRUPT, "a stored response cannot be read");
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &one);)
		if (!j_i64(one, &numbers[(*n)++]))
			return err_set(E_CORRUPT, "a stored response cannot be read");
	*out = numbers;
	return OK;
}

static enum err parse(struct arena *a, struct str text, struct stored *out)
{
	struct json_limits lim = {.depth = 1000, .nodes = 4000000, .bytes = STORED_MAX_BYTES, .flags = JSON_DUP_OK};
	struct json *doc = ARENA_NEW(a, struct json);
	struct jval root;

	if (!doc)
		return E_NOMEM;
	TRY(json_parse(a, text, &lim, doc));
	root = json_root(doc);
	if (!j_is(root, JSON_OBJECT) || !j_is(j_get(root, STR("id")), JSON_STRING) ||
	    !j_is(j_get(root, STR("thread")), JSON_STRING) || !j_is(j_get(root, STR("object")), JSON_OBJECT) ||
	    !j_bool(j_get(root, STR("chain")), &out->chain) || !j_bool(j_get(root, STR("ended")), &out->ended) ||
	    !j_bool(j_get(root, STR("hide")), &out->hide))
		return err_set(E_CORRUPT, "a stored response cannot be read");
	out->id = j_str(a, j_get(root, STR("id")));
	out->thread = j_str(a, j_get(root, STR("thread")));
	out->object = j_raw(j_get(root, STR("object")));
	TRY(read_numbers(a, j_get(root, STR("came")), &out->came, &out->came_n));
	TRY(read_numbers(a, j_get(root, STR("made")), &out->made, &out->made_n));
	return out->id.p && out->thread.p && out->came_n ? OK : E_NOMEM;
}

/* ----------------------------------------------------------------------- reading */

/* What a model or a tool says, as opposed to what comes with a request. */
static bool is_made(struct arena *a, struct str item)
{
	struct json doc;
	struct jval root;

	if (json_parse(a, item, NULL, &doc) != OK)
		return false;
	root = json_root(&doc);
	return j_str_eq(j_get(root, STR("role")), STR("assistant")) || j_str_eq(j_get(root, STR("created_by")), STR("cenote"));
}

/* Of a response that has not ended: what has been added to the thread behind its input. */
static enum err find_made(struct memory *m, struct arena *a, const struct principal *who, struct stored *x)
{
	struct entry_list q = {.thread = x->thread, .after = x->came[x->came_n - 1], .limit = PAGE};
	struct session_entry *v;
	int64_t *made;
	size_t n;
	bool more;

	TRY(entries_page(m, a, who, &q, &v, &n, &more));
	made = ARENA_ARRAY(a, int64_t, n + 1);
	if (!made)
		return E_NOMEM;
	for (x->made_n = 0; x->made_n < n && is_made(a, v[x->made_n].data); x->made_n++)
		made[x->made_n] = v[x->made_n].id;
	x->made = made;
	return OK;
}

/* *there: it was when it was begun to be read. */
static enum err read_response(struct memory *m, struct arena *a, const struct principal *who, struct str id, struct stored *out,
			      bool *there)
{
	struct store *s = memory_store(m);
	struct session_entry last;
	struct thread_info info;
	struct str text;
	int64_t first;
	bool found;
	enum err e;

	*out = (struct stored){.came_n = 0};
	*there = false;
	if (!number_of(id, &first))
		return unknown(id);
	TRY(s->ops->meta_get(s, a, who, str_c(name_of(first).text), &text, &found));
	if (!found)
		return unknown(id);
	TRY(parse(a, text, out));
	if (out->id.n != id.n || !secret_eq(out->id.p, id.p, id.n))
		return unknown(id);
	TRY(thread_get(m, a, who, out->thread, &info, &found));
	if (!found)
		return unknown(id);
	*there = true;
	out->owner = info.user;
	e = out->ended ? OK : find_made(m, a, who, out);
	out->last = out->made_n ? out->made[out->made_n - 1] : out->came[out->came_n - 1];
	if (e == OK)
		e = entries_get(m, a, who, out->thread, out->last, &last);
	return e == E_NOT_FOUND ? unknown(id) : e;
}

/* The answer may take the place of what stands for it while that is looked for. */
enum err stored_get(struct memory *m, struct arena *a, const struct principal *who, struct str id, struct stored *out)
{
	enum err e = OK;
	bool there;

	TRY(principal_check(who, RIGHT_READ));
	for (int i = 0; i < TRIES; i++) {
		e = read_response(m, a, who, id, out, &there);
		if (e != E_NOT_FOUND || !there || out->ended)
			break;
	}
	return e;
}

enum err stored_of(struct memory *m, struct arena *a, const struct principal *who, int64_t first, struct stored *out, bool *found)
{
	struct store *s = memory_store(m);
	struct str text;

	TRY(principal_check(who, RIGHT_READ));
	TRY(s->ops->meta_get(s, a, who, str_c(name_of(first).text), &text, found));
	return *found ? parse(a, text, out) : OK;
}

static bool among(const int64_t *v, size_t n, int64_t id)
{
	size_t from = 0, to = n;

	while (from < to) { /* numbers of a thread rise */
		size_t mid = from + (to - from) / 2;

		if (v[mid] == id)
			return true;
		*(v[mid] < id ? &from : &to) = v[mid] < id ? mid + 1 : mid;
	}
	return false;
}

enum err stored_entries(struct memory *m, struct arena *a, const struct principal *who, const struct stored *x, bool output,
			struct session_entry **out, size_t *n)
{
	const int64_t *want = output ? x->made : x->came;
	size_t want_n = output ? x->made_n : x->came_n, first = 0;
	struct entry_list q = {.thread = x->thread, .limit = PAGE};
	bool more = true;
	enum err e = E_NOT_FOUND;

	*n = 0;
	*out = ARENA_ARRAY(a, struct session_entry, want_n + 1);
	if (!*out)
		return E_NOMEM;
	for (; first < want_n && e == E_NOT_FOUND; first++)
		e = entries_get(m, a, who, x->thread, want[first], &(*out)[0]);
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	q.after = (*out)[(*n)++].id;
	/* Others may have come between them, in a conversation that several talk in. */
	while (more && *n + first - 1 < want_n && q.after < want[want_n - 1]) {
		struct session_entry *v;
		size_t got;

		TRY(entries_page(m, a, who, &q, &v, &got, &more));
		for (size_t i = 0; i < got; q.after = v[i++].id)
			if (*n < want_n && among(want, want_n, v[i].id))
				(*out)[(*n)++] = v[i];
		more = more && got;
	}
	return OK;
}

enum err stored_newest(struct memory *m, struct arena *a, const struct principal *who, const struct stored *x, bool *newest)
{
	struct session_entry *v;
	size_t n;

	TRY(entries_tail(m, a, who, x->thread, 1, &v, &n));
	*newest = n && v[0].id == x->last;
	return OK;
}

/* ----------------------------------------------------------------------- copying */

static struct principal as_owner(const struct principal *who, const struct stored *x)
{
	struct principal p = *who;

	p.user = x->owner;
	return p;
}

/* A page; a is the page's own. */
static enum err copy_page(struct memory *m, struct arena *a, const struct principal *who, struct entry_list *q, int64_t last,
			  struct str to, bool *end)
{
	struct entry_append add = {.thread = to};
	struct session_entry *v;
	size_t n;
	bool more;

	TRY(entries_page(m, a, who, q, &v, &n, &more));
	*end = !more || !n;
	while (add.n < n && !(add.n && v[add.n - 1].id == last))
		add.n++;
	if (!add.n)
		return OK;
	*end = *end || v[add.n - 1].id == last;
	q->after = v[add.n - 1].id;
	add.v = v;
	return entries_append(m, a, who, &add);
}

struct removal {
	struct memory *m;
	struct arena *a;
	const struct principal *who;
	struct str thread;
};

static enum err remove_thread(void *arg)
{
	const struct removal *x = arg;

	return entries_remove(x->m, x->a, x->who, x->thread);
}

enum err stored_fork(struct memory *m, const struct principal *who, const struct stored *x, struct str to)
{
	const struct principal owner = as_owner(who, x);
	struct entry_list q = {.thread = x->thread, .limit = PAGE};
	bool end = false;
	enum err e = OK;

	while (!end && e == OK) {
		struct arena a;

		arena_init(&a, ROOM);
		e = copy_page(m, &a, &owner, &q, x->last, to, &end);
		arena_release(&a);
	}
	if (e != OK && q.after) {
		struct diag d = *diag_get();
		struct arena a;
		struct removal r = {m, &a, &owner, to};

		arena_init(&a, ROOM);
		(void)!wait_shielded(deadline_in_ms(LAST_WRITE_MS), remove_thread, &r);
		arena_release(&a);
		*diag_get() = d;
	}
	return e;
}

/* ---------------------------------------------------------------------- removing */

enum err stored_drop(struct memory *m, const struct principal *who, struct str id, bool anyway)
{
	struct writing to = {.m = m, .who = who, .value = STR("")};
	int64_t first;

	TRY(principal_check(who, RIGHT_WRITE));
	if (!number_of(id, &first))
		return unknown(id);
	to.name = name_of(first);
	return write_now(&to, anyway);
}

/* The entry with which the response ends whose input begins with `first`; 0: there is none. */
static enum err end_of(struct memory *m, struct arena *a, const struct principal *who, int64_t first, int64_t *last)
{
	struct stored x = {.came_n = 0};
	bool found;

	*last = 0;
	TRY(stored_of(m, a, who, first, &x, &found));
	if (!found)
		return OK;
	*last = x.made_n ? x.made[x.made_n - 1] : x.came[x.came_n - 1];
	return OK;
}

/* What stands at the thread's end and is part of no response any more, newest first. */
struct loose {
	int64_t *v;
	size_t n;
	int64_t last; /* with it the last response ends that is left; 0: none is */
	bool all;     /* the thread has nothing else */
};

static enum err find_loose(struct memory *m, struct arena *a, const struct principal *who, struct str thread, struct loose *x)
{
	struct session_entry *v;
	size_t n;

	TRY(entries_tail(m, a, who, thread, LOOSE_MAX, &v, &n));
	x->v = ARENA_ARRAY(a, int64_t, n + 1);
	if (!x->v)
		return E_NOMEM;
	for (size_t i = n; i-- > 0 && !x->last;) {
		TRY(end_of(m, a, who, v[i].id, &x->last));
		x->v[x->n++] = v[i].id;
	}
	x->all = !x->last && n < LOOSE_MAX;
	for (size_t i = 0; i < x->n; i++)
		if (x->v[i] == x->last)
			x->n = i;
	return OK;
}

/* The newest first: whoever follows at the same time then finds that it is not the thread's end any more. */
static enum err delete_end(struct memory *m, struct arena *a, const struct principal *who, const struct stored *x)
{
	struct loose l = {.n = 0};
	enum err e;

	TRY(find_loose(m, a, who, x->thread, &l));
	if (l.all)
		e = entries_remove(m, a, who, x->thread);
	else
		e = OK;
	for (size_t i = 0; i < l.n && !l.all && (e == OK || e == E_NOT_FOUND); i++)
		e = entries_delete(m, who, x->thread, l.v[i]);
	return e == E_NOT_FOUND ? OK : e;
}

enum err stored_delete(struct memory *m, struct arena *a, const struct principal *who, const struct stored *x)
{
	bool newest = false;

	TRY(principal_check(who, RIGHT_WRITE));
	if (x->chain)
		TRY(stored_newest(m, a, who, x, &newest));
	TRY(stored_drop(m, who, x->id, false));
	return newest ? delete_end(m, a, who, x) : OK;
}
