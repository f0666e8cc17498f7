/* Routes: a tree of path segments; a node tries its static children, then {x:uuid}, {x:int}, {x}, {x...}, and steps back when what
 * follows does not fit or has no such method. Matching allocates only for escapes.
 *
 * Invariants
 *  1. Every node is visited at most once per match, as its depth fixes the position in the path.
 *  2. A node has at most one endpoint per method.
 *  3. Immutable once a server uses it: shared by all loops without locks. */
#include <stdlib.h>

#include "base/utf8.h"
#include "http/client.h"
#include "http/internal.h"

enum seg_kind { SEG_UUID, SEG_INT, SEG_ANY, SEG_REST, SEG_STATIC };

struct node {
	struct node *sibling;
	struct node *children;		/* static ones */
	struct node *param[SEG_STATIC]; /* by kind */
	struct str seg;
	struct endpoint *endpoints;
};

struct prefix {
	struct str path;
	http_error_fn errors;
};

struct http_router {
	struct node root;
	struct endpoint **all;
	unsigned all_n;
	struct prefix *prefixes;
	size_t prefixes_n;
};

static const struct str methods[] = {STR_INIT("GET"),	STR_INIT("HEAD"),   STR_INIT("POST"),	STR_INIT("PUT"),
				     STR_INIT("PATCH"), STR_INIT("DELETE"), STR_INIT("OPTIONS")};
#define METHODS (sizeof methods / sizeof methods[0])

static int method_bit(struct str m)
{
	for (size_t i = 0; i < METHODS; i++)
		if (str_eq(methods[i], m))
			return (int)i;
	return -1;
}

enum err http_router_new(struct http_router **out)
{
	struct http_router *r = calloc(1, sizeof *r);

	if (!r)
		return err_set(E_LIMIT, "out of memory for the route table");
	*out = r;
	return OK;
}

static void node_free(struct node *n)
{
	while (n->children) {
		struct node *c = n->children;

		n->children = c->sibling;
		node_free(c);
		free(c);
	}
	for (int k = 0; k < SEG_STATIC; k++)
		if (n->param[k]) {
			node_free(n->param[k]);
			free(n->param[k]);
		}
}

void http_router_free(struct http_router *r)
{
	if (!r)
		return;
	node_free(&r->root);
	for (unsigned i = 0; i < r->all_n; i++)
		free(r->all[i]);
	free(r->all);
	free(r->prefixes);
	free(r);
}

static struct node *child(struct node *n, struct str seg)
{
	struct node *c;

	for (c = n->children; c; c = c->sibling)
		if (str_eq(c->seg, seg))
			return c;
	c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->seg = seg;
	c->sibling = n->children;
	n->children = c;
	return c;
}

/* "{name:type}" or "{name...}": kind and name; false when malformed. */
static bool parse_param(struct str seg, enum seg_kind *kind, struct str *name)
{
	struct str in = str_sub(seg, 1, seg.n - 1), type;

	*kind = SEG_ANY;
	if (str_ends(in, STR("..."))) {
		*kind = SEG_REST;
		in.n -= 3;
	} else if (str_cut(in, ':', name, &type)) {
		in = *name;
		if (str_eq(type, STR("uuid")))
			*kind = SEG_UUID;
		else if (str_eq(type, STR("int")))
			*kind = SEG_INT;
		else
			return false;
	}
	*name = in;
	return in.n > 0;
}

static enum err place(struct http_router *r, const struct http_route *route, struct endpoint *ep, struct node **out)
{
	struct str rest = str_c(route->path), seg;
	struct node *n = &r->root;
	bool more = true;

	if (rest.n == 0 || rest.p[0] != '/')
		return err_set(E_INVALID, "route %s: a path begins with /", route->path);
	rest = str_sub(rest, 1, rest.n);
	while (more) {
		more = str_cut(rest, '/', &seg, &rest);
		if (seg.n > 1 && seg.p[0] == '{' && seg.p[seg.n - 1] == '}') {
			enum seg_kind kind;
			struct str name;

			if (!parse_param(seg, &kind, &name) || ep->params_n == PARAMS_MAX || (kind == SEG_REST && more))
				return err_set(E_INVALID, "route %s: parameter %.*s is malformed", route->path, STR_ARG(seg));
			ep->params[ep->params_n++] = name;
			if (!n->param[kind])
				n->param[kind] = calloc(1, sizeof *n);
			n = n->param[kind];
		} else {
			n = child(n, seg);
		}
		if (!n)
			return err_set(E_LIMIT, "out of memory for the route table");
	}
	*out = n;
	return OK;
}

static enum err add_one(struct http_router *r, const struct http_route *route, void *ctx, http_error_fn errors)
{
	struct endpoint *ep = calloc(1, sizeof *ep), **all;
	struct node *n = NULL;
	enum err e;

	all = ep ? realloc(r->all, (r->all_n + 1) * sizeof(struct endpoint *)) : NULL;
	if (!all) {
		free(ep);
		return err_set(E_LIMIT, "out of memory for the route table");
	}
	r->all = all;
	*ep = (struct endpoint){.route = route, .method = str_c(route->method), .ctx = ctx, .errors = errors};
	if (method_bit(ep->method) < 0) {
		e = err_set(E_INVALID, "route %s: unknown method %s", route->path, route->method);
		goto out;
	}
	e = place(r, route, ep, &n);
	if (e != OK)
		goto out;
	for (const struct endpoint *o = n->endpoints; o; o = o->next)
		if (str_eq(o->method, ep->method)) {
			e = err_set(E_CONFLICT, "routes %s and %s match the same %s requests", o->route->path, route->path,
				    route->method);
			goto out;
		}
	ep->next = n->endpoints;
	n->endpoints = ep;
	ep->index = r->all_n;
	r->all[r->all_n++] = ep;
	return OK;
out:
	free(ep);
	return e;
}

enum err http_router_add(struct http_router *r, const char *prefix, const struct http_route *routes, size_t n, void *ctx,
			 http_error_fn errors)
{
	struct prefix *p = realloc(r->prefixes, (r->prefixes_n + 1) * sizeof *p);
	struct str path = str_c(prefix);

	if (!p)
		return err_set(E_LIMIT, "out of memory for the route table");
	r->prefixes = p;
	while (path.n && path.p[path.n - 1] == '/')
		path.n--;
	r->prefixes[r->prefixes_n++] = (struct prefix){path, errors};
	for (size_t i = 0; i < n; i++)
		TRY(add_one(r, &routes[i], ctx, errors));
	return OK;
}

void http_router_walk(const struct http_router *r, void (*fn)(void *ctx, const struct http_route *route), void *ctx)
{
	for (unsigned i = 0; i < r->all_n; i++)
		fn(ctx, r->all[i]->route);
}

unsigned router_count(const struct http_router *r)
{
	return r->all_n;
}

const struct endpoint *router_endpoint(const struct http_router *r, unsigned index)
{
	return r->all[index];
}

http_error_fn router_errors(const struct http_router *r, struct str path)
{
	const struct prefix *best = NULL;

	for (size_t i = 0; i < r->prefixes_n; i++) {
		const struct prefix *p = &r->prefixes[i];

		if (!str_starts(path, p->path) || (path.n > p->path.n && path.p[p->path.n] != '/'))
			continue;
		if (!best || p->path.n > best->path.n)
			best = p;
	}
	return best ? best->errors : NULL;
}

/* ---------------------------------------------------------------- matching */

struct walk {
	struct arena *a;
	struct str path; /* raw */
	struct str method;
	struct match *m;
	unsigned allow; /* bits of methods met on paths that fit */
	bool escapes;	/* the path has a % somewhere */
};

static struct str decoded(struct walk *w, struct str seg)
{
	return w->escapes ? url_decode(w->a, seg, false) : seg;
}

static bool dots(struct str s)
{
	return str_eq(s, STR(".")) || str_eq(s, STR(".."));
}

/* A rest parameter may name files: no dot segments, however they are written. */
static bool rest_ok(struct str s)
{
	struct str head;

	while (str_cut(s, '/', &head, &s))
		if (dots(head))
			return false;
	return !dots(head);
}

static bool take_endpoint(struct walk *w, const struct node *n)
{
	const struct endpoint *get = NULL;

	for (const struct endpoint *ep = n->endpoints; ep; ep = ep->next) {
		int bit = method_bit(ep->method);

		w->allow |= 1u << bit;
		if (bit == 0)
			w->allow |= 1u << 1, get = ep;
		if (str_eq(ep->method, w->method)) {
			w->m->ep = ep;
			return true;
		}
	}
	if (get && str_eq(w->method, STR("HEAD"))) {
		w->m->ep = get;
		return true;
	}
	return false;
}

static bool fits(enum seg_kind kind, struct str raw, struct str v)
{
	int64_t unused;

	/* A dot segment that was not escaped is navigation, which clients resolve before they send; an escaped one is data. */
	if (v.n == 0 || dots(raw))
		return false;
	if (kind == SEG_UUID)
		return uuid_valid(v);
	if (kind == SEG_INT)
		return str_int(v, 0, INT64_MAX, &unused);
	return true;
}

static bool descend(struct walk *w, const struct node *n, size_t at, unsigned params)
{
	const char *slash;
	struct str raw, v;
	bool last;

	/* at: start of the next segment; path.n + 1 when the last one has been taken. */
	if (at > w->path.n)
		return n->endpoints && take_endpoint(w, n);
	slash = at < w->path.n ? memchr(w->path.p + at, '/', w->path.n - at) : NULL;
	last = !slash;
	raw = str_sub(w->path, at, last ? w->path.n : (size_t)(slash - w->path.p));
	v = decoded(w, raw);
	if (!v.p)
		return false;
	for (const struct node *c = n->children; c; c = c->sibling)
		if (str_eq(c->seg, v)) {
			if (descend(w, c, at + raw.n + 1, params))
				return true;
			break;
		}
	if (params == PARAMS_MAX)
		return false;
	for (int k = SEG_UUID; k <= SEG_ANY; k++)
		if (n->param[k] && fits((enum seg_kind)k, raw, v)) {
			w->m->values[params] = v;
			if (descend(w, n->param[k], at + raw.n + 1, params + 1))
				return true;
		}
	if (n->param[SEG_REST]) {
		v = decoded(w, str_sub(w->path, at, w->path.n));
		if (!v.p || !rest_ok(v))
			return false;
		w->m->values[params] = v;
		return n->param[SEG_REST]->endpoints && take_endpoint(w, n->param[SEG_REST]);
	}
	return false;
}

static void allow_text(unsigned bits, char out[96])
{
	size_t n = 0;

	out[0] = '\0';
	if (!bits)
		return;
	bits |= 1u << (METHODS - 1); /* OPTIONS is answered here */
	for (size_t i = 0; i < METHODS; i++)
		if (bits & (1u << i)) {
			if (n) {
				memcpy(out + n, ", ", 2);
				n += 2;
			}
			memcpy(out + n, methods[i].p, methods[i].n);
			n += methods[i].n;
		}
	out[n] = '\0';
}

enum match_result router_match(const struct http_router *r, struct arena *a, struct str method, struct str path, struct match *m)
{
	struct walk w = {.a = a, .path = path, .method = method, .m = m};

	m->ep = NULL;
	m->allow[0] = '\0';
	if (path.n == 0 || path.p[0] != '/')
		return MATCH_NONE;
	w.escapes = memchr(path.p, '%', path.n) != NULL;
	if (w.escapes) {
		struct str all = url_decode(a, path, false);

		if (!all.p || !utf8_valid(all))
			return MATCH_MALFORMED;
	} else if (!utf8_valid(path) || memchr(path.p, 0, path.n)) {
		return MATCH_MALFORMED;
	}
	if (descend(&w, &r->root, 1, 0))
		return MATCH_OK;
	allow_text(w.allow, m->allow);
	return w.allow ? MATCH_METHOD : MATCH_NONE;
}

void router_allow(const struct http_router *r, struct arena *a, struct str path, char out[96])
{
	struct match m;

	/* No method of this name exists, so every endpoint of the path is met. */
	(void)router_match(r, a, STR("-"), path, &m);
	memcpy(out, m.allow, sizeof m.allow);
}
