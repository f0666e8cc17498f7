/* The text of retention rules. One pass over the text; every complaint names the place. */
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "core/checkpoint_impl.h"
#include "core/retention_impl.h"

#define DAY_US (86400ll * 1000000)

struct parser {
	struct str all; /* the whole text; slices of it tell their place */
	struct retention *r;
};

static enum err wrong(const struct parser *p, struct str at, const char *why)
{
	int64_t pos = at.p ? at.p - p->all.p : (int64_t)p->all.n;

	return err_field(E_INVALID, "privacy.retention", pos, "at character %lld: %s", (long long)pos + 1, why);
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Without blanks on both sides, but never a NULL pointer: what is empty has a place, too. */
static struct str trim(struct str s)
{
	while (s.n && blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool cut_word(struct str *rest, struct str *word)
{
	size_t n = 0;

	*rest = trim(*rest);
	while (n < rest->n && !blank(rest->p[n]))
		n++;
	*word = str_sub(*rest, 0, n);
	*rest = str_sub(*rest, n, rest->n);
	return n > 0;
}

static enum err number(const struct parser *p, struct str word, struct str digits, int64_t max, int64_t *out)
{
	char why[80];

	if (str_int(digits, 1, max, out))
		return OK;
	snprintf(why, sizeof why, "after = there must be a whole number, 1..%lld", (long long)max);
	return wrong(p, digits.n ? digits : word, why);
}

static enum err word(const struct parser *p, struct str w, struct retention_rule *r)
{
	struct str name, digits;
	int64_t days = 0;
	int64_t *field = NULL, max = 36500;

	if (!str_cut(w, '=', &name, &digits))
		name = STR("");
	if (str_eq(name, STR("last")) || str_eq(name, STR("every"))) {
		field = name.n == 4 ? &r->policy.keep_last : &r->policy.keep_every;
		max = 1000000000;
	} else if (str_eq(name, STR("days")) || str_eq(name, STR("idle"))) {
		field = name.p[0] == 'd' ? &r->policy.keep_days_us : &r->idle_us;
	} else {
		return wrong(p, w, "there must be last=N, days=D, every=N or idle=D");
	}
	if (*field)
		return wrong(p, w, "this word is there twice");
	TRY(number(p, w, digits, max, &days));
	*field = max == 36500 ? days * DAY_US : days;
	r->prunes |= field != &r->idle_us;
	return OK;
}

/* The words again, in one order. */
static void describe(struct retention_rule *r)
{
	const struct {
		const char *name;
		int64_t v;
	} words[] = {{"last", r->policy.keep_last},
		     {"days", r->policy.keep_days_us / DAY_US},
		     {"every", r->policy.keep_every},
		     {"idle", r->idle_us / DAY_US}};
	size_t n = 0;

	r->text[0] = 0;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (words[i].v)
			n += (size_t)snprintf(r->text + n, sizeof r->text - n, "%s%s=%lld", n ? " " : "", words[i].name,
					      (long long)words[i].v);
}

static enum err head(const struct parser *p, struct str h, struct retention_rule *r)
{
	ptrdiff_t slash = str_chr(h, '/', 0);

	r->tenant = slash < 0 ? h : str_sub(h, 0, (size_t)slash);
	r->prefix = slash < 0 ? STR("") : str_sub(h, (size_t)slash + 1, h.n);
	if (!str_eq(r->tenant, STR("*")) && tenant_check(r->tenant) != OK)
		return wrong(p, h, "there must be a tenant's name or *, then a colon, or a / and the beginning of threads' names");
	if (r->prefix.n > THREAD_MAX_BYTES)
		return wrong(p, r->prefix, "no thread has a name as long as that");
	if (memchr(h.p, 0, h.n) || !utf8_valid(r->prefix))
		return wrong(p, h, "the beginning of a name is not valid UTF-8");
	return OK;
}

static enum err rule(const struct parser *p, struct str text)
{
	struct retention_rule *r = &p->r->v[p->r->n];
	struct str w, words;
	size_t colon = text.n;

	/* Names of threads may have colons; words do not. */
	while (colon > 0 && text.p[colon - 1] != ':')
		colon--;
	if (colon == 0)
		return wrong(p, text, "there is no colon: a rule is TENANT: WORDS or TENANT/THREAD-PREFIX: WORDS");
	if (p->r->n == RETENTION_RULES_MAX)
		return wrong(p, text, "there are more than 256 rules");
	*r = (struct retention_rule){.idle_us = 0};
	TRY(head(p, trim(str_sub(text, 0, colon - 1)), r));
	words = str_sub(text, colon, text.n);
	if (trim(words).n == 0)
		return wrong(p, words.n ? words : text, "the rule says nothing: there must be last=N, days=D, every=N or idle=D");
	while (cut_word(&words, &w))
		TRY(word(p, w, r));
	describe(r);
	if (r->policy.keep_last == 0)
		r->policy.keep_last = 1;
	p->r->n++;
	return OK;
}

static enum err rules(struct parser *p)
{
	size_t from = 0;

	for (size_t i = 0; i <= p->all.n; i++) {
		if (i < p->all.n && p->all.p[i] != ';')
			continue;
		struct str one = trim(str_of(p->all.p + from, i - from));

		from = i + 1;
		if (one.n)
			TRY(rule(p, one));
	}
	return OK;
}

enum err retention_parse(struct str text, struct retention **out)
{
	struct retention *r;
	struct parser p;
	enum err e = OK;

	*out = NULL;
	if (text.n > RETENTION_TEXT_MAX)
		return err_field(E_LIMIT, "privacy.retention", -1, "the rules have %zu bytes, at most %d are allowed", text.n,
				 RETENTION_TEXT_MAX);
	r = calloc(1, sizeof *r);
	if (r) {
		r->text = malloc(text.n + 1);
		r->v = calloc(RETENTION_RULES_MAX, sizeof *r->v);
	}
	if (!r || !r->text || !r->v) {
		retention_free(r);
		return err_set(E_LIMIT, "out of memory");
	}
	if (text.n)
		memcpy(r->text, text.p, text.n);
	r->text[text.n] = 0;
	p = (struct parser){str_of(r->text, text.n), r};
	e = rules(&p);
	if (e == OK)
		*out = r;
	else
		retention_free(r);
	return e;
}

void retention_free(struct retention *r)
{
	if (!r)
		return;
	free(r->text);
	free(r->v);
	free(r);
}

const struct retention_rule *retention_rule_of(const struct retention *r, struct str tenant, struct str thread)
{
	for (size_t i = 0; r && i < r->n; i++)
		if ((str_eq(r->v[i].tenant, STR("*")) || str_eq(r->v[i].tenant, tenant)) && str_starts(thread, r->v[i].prefix))
			return &r->v[i];
	return NULL;
}
