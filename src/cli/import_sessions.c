/* Sessions of the Agents SDK into Cenote's. A session that begins with what the file has, or that the file goes on with, is the
 * same one: what is missing is appended. Any other of the same name is a conflict. */
#include "cli/import_sqlite.h"

#include <inttypes.h>

#include "base/json/json.h"
#include "core/thread.h"

enum { PIECE_ITEMS = 1000 };
#define PIECE_BYTES ((size_t)256 << 10)
#define SESSION_MAX ((size_t)2 << 30)

struct kept {
	int64_t row;
	struct str data;
};

struct sessions {
	struct sqlite_import *im;
	struct arena a, scratch; /* of the session; of a request or an item */
	bool open;
	struct str session, branch, name, path;
	struct kept *v;
	size_t n, cap;
};

/* ------------------------------------------------------------------- writing */

static enum err one_piece(struct sessions *s, size_t from, size_t to, bool replace, bool *refused)
{
	struct http_reply r;
	struct buf b;

	arena_clear(&s->scratch);
	buf_init(&b, &s->scratch, (size_t)64 << 20);
	buf_lit(&b, "{\"items\":[");
	for (size_t i = from; i < to; i++) {
		buf_lit(&b, i > from ? "," : "");
		buf_str(&b, s->v[i].data);
	}
	buf_lit(&b, replace ? "],\"replace\":true}" : "]}");
	TRY(b.err);
	return sqlite_call(s->im, &s->scratch, "POST", s->path, NULL, buf_slice(&b), &r, refused);
}

/* From item `from` on. What follows a refused piece is not sent: items have an order. */
static enum err append(struct sessions *s, size_t from, bool replace)
{
	while (from < s->n) {
		size_t to = from, bytes = 0;
		bool refused;

		while (to < s->n && to - from < PIECE_ITEMS && (to == from || bytes + s->v[to].data.n <= PIECE_BYTES))
			bytes += s->v[to++].data.n + 1;
		TRY(one_piece(s, from, to, replace, &refused));
		if (refused)
			return sqlite_bad(s->im, s->n - from, "session %.*s, from row %" PRId64 " on", STR_ARG(s->name),
					  s->v[from].row);
		s->im->stored += to - from;
		from = to;
		replace = false;
	}
	return OK;
}

/* ----------------------------------------------------------------- comparing */

static bool same(struct arena *a, struct jval there, struct str data)
{
	struct json doc;

	if (str_eq(j_raw(there), data))
		return true;
	return json_parse(a, data, &(struct json_limits){80, 2000000, ENTRY_MAX_BYTES, JSON_DUP_OK}, &doc) == OK &&
	       j_equal(there, json_root(&doc));
}

/* *common: how many items at the beginning are the same; *there: how many the store has. */
static enum err compare(struct sessions *s, struct jval data, size_t *common, size_t *there)
{
	struct arena a;
	struct jval v;
	bool alike = true;

	if (!j_is(data, JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's answer has no data (is it a Cenote server?)");
	arena_init(&a, (size_t)256 << 20);
	*common = 0;
	*there = j_node(data)->count;
	for (struct j_iter it = j_iter(data); alike && *common < s->n && j_next(&it, NULL, &v);) {
		alike = same(&a, v, s->v[*common].data);
		*common += alike;
		arena_clear(&a);
	}
	arena_release(&a);
	return OK;
}

static enum err conflict(struct sessions *s)
{
	struct sqlite_import *im = s->im;

	switch (im->on_conflict) {
	case CONFLICT_REPLACE:
		return append(s, 0, true);
	case CONFLICT_SKIP:
		im->unchanged += s->n;
		return OK;
	default:
		(void)err_set(E_CONFLICT, "exists already with other items (--on-conflict replace or skip decides)");
		return sqlite_bad(im, s->n, "session %.*s", STR_ARG(s->name));
	}
}

static enum err store(struct sessions *s)
{
	const struct json_limits lim = {96, 100000000, (size_t)1 << 30, JSON_DUP_OK};
	struct sqlite_import *im = s->im;
	size_t common = 0, there = 0;
	struct http_reply r;
	struct json doc;
	bool refused;

	if (!im->http) {
		im->stored += s->n;
		return OK;
	}
	arena_clear(&s->scratch);
	TRY(sqlite_call(im, &s->scratch, "GET", s->path, NULL, str_of(NULL, 0), &r, &refused));
	if (refused)
		return sqlite_bad(im, s->n, "session %.*s", STR_ARG(s->name));
	TRY(json_parse(&s->scratch, r.body, &lim, &doc));
	TRY(compare(s, j_get(json_root(&doc), STR("data")), &common, &there));
	if (common < s->n && common < there)
		return conflict(s);
	im->unchanged += common;
	return append(s, common, false);
}

/* ------------------------------------------------------------------- reading */

static enum err finish(struct sessions *s)
{
	enum err e = OK;

	if (s->open && s->n > 0)
		e = store(s);
	arena_clear(&s->a);
	s->open = false;
	s->v = NULL;
	s->n = s->cap = 0;
	return e;
}

static enum err begin(struct sessions *s, const struct foreign_item *i)
{
	struct str encoded;

	s->open = true;
	s->session = arena_str(&s->a, i->session);
	s->branch = arena_str(&s->a, i->branch);
	s->name = i->branch.n ? arena_printf(&s->a, "%.*s#%.*s", STR_ARG(i->session), STR_ARG(i->branch)) : s->session;
	if (!s->session.p || !s->branch.p || !s->name.p)
		return E_NOMEM;
	encoded = url_encode(&s->a, s->name);
	s->path = arena_printf(&s->a, "/cenote/v1/sessions/%.*s/items", STR_ARG(encoded));
	return s->path.p ? OK : E_NOMEM;
}

/* As sessions take them. */
static enum err check(struct arena *a, struct str data)
{
	struct json_limits lim = json_default_limits;
	struct json doc;

	lim.bytes = ENTRY_MAX_BYTES;
	lim.flags = JSON_DUP_OK;
	if (!data.p)
		return err_set(E_INVALID, "an item that is no text");
	TRY(json_parse(a, data, &lim, &doc));
	return j_is(json_root(&doc), JSON_OBJECT) ? OK : err_set(E_INVALID, "an item must be a JSON object");
}

static enum err keep(struct sessions *s, const struct foreign_item *i)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 64;

		s->v = arena_grow(&s->a, s->v, s->cap * sizeof *s->v, cap * sizeof *s->v);
		if (!s->v)
			return E_NOMEM;
		s->cap = cap;
	}
	s->v[s->n] = (struct kept){i->row, arena_str(&s->a, i->data)};
	return s->v[s->n++].data.p ? OK : E_NOMEM;
}

static enum err on_item(void *ctx, const struct foreign_item *i)
{
	struct sessions *s = ctx;
	enum err e;

	TRY(sqlite_row(s->im));
	if (s->open && (!str_eq(s->session, i->session) || !str_eq(s->branch, i->branch)))
		TRY(finish(s));
	if (!s->open)
		TRY(begin(s, i));
	arena_clear(&s->scratch);
	e = check(&s->scratch, i->data);
	if (e != OK)
		return sqlite_bad(s->im, 1, "session %.*s, row %" PRId64, STR_ARG(s->name), i->row);
	return keep(s, i);
}

enum err import_sessions(struct sqlite_import *im, struct foreign *f)
{
	struct sessions s = {.im = im};
	enum err e, last;
	struct diag d;

	arena_init(&s.a, SESSION_MAX);
	arena_init(&s.scratch, SESSION_MAX);
	e = foreign_items(f, on_item, &s);
	d = *diag_get();
	/* What was read before a bad or damaged row is stored all the same. */
	last = e == OK || e == E_CANCELLED || e == E_CORRUPT ? finish(&s) : OK;
	if (e != OK)
		*diag_get() = d;
	arena_release(&s.scratch);
	arena_release(&s.a);
	return e != OK ? e : last;
}
