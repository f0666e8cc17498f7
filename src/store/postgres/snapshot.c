/* Arithmetic on pg_snapshot: see snapshot.h. */
#include "store/postgres/snapshot.h"

static bool number(struct str *s, char end, uint64_t *out)
{
	struct str head;
	int64_t v;

	str_cut(*s, end, &head, s);
	if (!str_int(head, 0, INT64_MAX, &v))
		return false;
	*out = (uint64_t)v;
	return true;
}

static size_t count(struct str s)
{
	size_t n = s.n > 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == ',';
	return n;
}

static enum err damaged(struct str text)
{
	return err_set(E_CORRUPT, "the server's snapshot \"%.*s\" has an unknown form", STR_ARG(str_sub(text, 0, 100)));
}

enum err pg_snapshot_parse(struct str text, struct pg_snapshot *out)
{
	struct str rest = text;
	uint64_t last = 0;
	size_t n;

	*out = (struct pg_snapshot){0};
	if (!number(&rest, ':', &out->xmin) || !number(&rest, ':', &out->xmax) || out->xmin > out->xmax)
		return damaged(text);
	n = count(rest);
	if (n == 0)
		return OK;
	out->xip = malloc(n * sizeof *out->xip);
	if (!out->xip)
		return err_set(E_LIMIT, "out of memory in the store");
	for (; out->n < n; out->n++) {
		uint64_t *x = &out->xip[out->n];

		if (!number(&rest, ',', x) || *x < out->xmin || *x >= out->xmax || *x <= last)
			return damaged(text);
		last = *x;
	}
	return OK;
}

void pg_snapshot_release(struct pg_snapshot *s)
{
	free(s->xip);
	*s = (struct pg_snapshot){0};
}

/* The first place in xip at or above xid. */
static size_t place(const struct pg_snapshot *s, uint64_t xid)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->xip[mid] < xid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool pg_snapshot_sees(const struct pg_snapshot *s, uint64_t xid)
{
	size_t at;

	if (xid >= s->xmax)
		return false;
	at = place(s, xid);
	return at == s->n || s->xip[at] != xid;
}

uint64_t pg_snapshot_ended(const struct pg_snapshot *a, const struct pg_snapshot *b)
{
	uint64_t n = 0;

	if (b->xmax > a->xmax) /* what a had not begun, but for what b still sees running */
		n = b->xmax - a->xmax - (b->n - place(b, a->xmax));
	for (size_t i = 0; i < a->n; i++)
		n += pg_snapshot_sees(b, a->xip[i]);
	return n;
}

bool pg_snapshot_not_before(const struct pg_snapshot *b, const struct pg_snapshot *a)
{
	return b->xmax >= a->xmax && b->xmax - b->n >= a->xmax - a->n;
}
