/* What of a store's address may be shown. It need not be a valid one: what cannot be told apart is hidden rather than shown. */
#include "store/open.h"

#define SPANS_MAX 8

struct span {
	size_t from, to;
};
struct spans {
	struct span v[SPANS_MAX];
	size_t n;
};

static void add(struct spans *s, size_t from, size_t to)
{
	if (to > from && s->n < SPANS_MAX)
		s->v[s->n++] = (struct span){from, to};
	else if (to > from)
		s->v[s->n - 1].to = to; /* too many: all that is between is hidden, too */
}

static size_t find(struct str s, char c, size_t from, size_t to)
{
	while (from < to && s.p[from] != c)
		from++;
	return from;
}

static ptrdiff_t find_last(struct str s, char c, size_t from, size_t to)
{
	while (to > from)
		if (s.p[--to] == c)
			return (ptrdiff_t)to;
	return -1;
}

/* Whether [from, to) is a list of hosts whose ports are numbers. */
static bool hosts_only(struct str s, size_t from, size_t to)
{
	while (from < to) {
		size_t end = find(s, ',', from, to);
		if (s.p[from] == '[')
			from = find(s, ']', from, end);
		for (size_t i = find(s, ':', from, end) + 1; i < end; i++)
			if (s.p[i] < '0' || s.p[i] > '9')
				return false;
		from = end + 1;
	}
	return true;
}

/* user:password@; a password with a raw / ? or @ is not valid, but must not be shown either. Returns where it ends. */
static size_t userinfo(struct str s, size_t from, struct spans *out)
{
	size_t query = find(s, '?', from, s.n), path = find(s, '/', from, query), colon = find(s, ':', from, path);
	ptrdiff_t at = find_last(s, '@', from, query);
	if (at < 0) {
		size_t odd = find(s, '@', query, find(s, '=', query, s.n));
		if (colon == path || (hosts_only(s, from, path) && (odd == s.n || s.p[odd] != '@')))
			return from;
		at = find_last(s, '@', from, s.n);
		if (at < 0)
			at = (ptrdiff_t)s.n;
	}
	if (colon < (size_t)at)
		add(out, colon + 1, (size_t)at);
	return (size_t)at;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Keywords may be percent-encoded. */
static bool secret_key(struct str k)
{
	static const char *const secret[] = {"password", "sslpassword", "oauth_client_secret", "scram_client_key",
					     "scram_server_key"};
	char name[40];
	size_t n = 0;
	for (size_t i = 0; i < k.n && n < sizeof name; i++) {
		int hi = k.p[i] == '%' && i + 2 < k.n ? hex(k.p[i + 1]) : -1, lo = hi >= 0 ? hex(k.p[i + 2]) : -1;
		name[n++] = lo >= 0 ? (char)(hi * 16 + lo) : k.p[i];
		i += lo >= 0 ? 2 : 0;
	}
	for (size_t i = 0; i < sizeof secret / sizeof *secret; i++)
		if (str_ieq(str_trim(str_of(name, n)), str_c(secret[i])))
			return true;
	return false;
}

static void query(struct str s, size_t from, struct spans *out)
{
	size_t at = find(s, '?', from, s.n);
	while (at < s.n) {
		size_t end = find(s, '&', at + 1, s.n), eq = find(s, '=', at + 1, end);
		if (eq < end && secret_key(str_sub(s, at + 1, eq)))
			add(out, eq + 1, end);
		at = end;
	}
}

/* keyword=value, as it should not be written here; everything behind such a word is hidden. */
static void words(struct str s, struct spans *out)
{
	for (size_t eq = find(s, '=', 0, s.n); eq < s.n; eq = find(s, '=', eq + 1, s.n)) {
		size_t end = eq, from;
		while (end > 0 && s.p[end - 1] == ' ')
			end--;
		for (from = end; from > 0 && s.p[from - 1] != ' ';)
			from--;
		if (secret_key(str_sub(s, from, end))) {
			add(out, eq + 1, s.n);
			return;
		}
	}
}

static void secrets(struct str s, struct spans *out)
{
	size_t i = 0;
	out->n = 0;
	while (i + 2 < s.n && memcmp(s.p + i, "://", 3) != 0)
		i++;
	if (i + 2 < s.n)
		query(s, userinfo(s, i + 3, out), out);
	else
		words(s, out);
}

void store_url_redact(struct str url, struct buf *out)
{
	struct spans sp;
	size_t at = 0;
	secrets(url, &sp);
	for (size_t i = 0; i < sp.n; i++) {
		buf_str(out, str_sub(url, at, sp.v[i].from));
		buf_lit(out, "***");
		at = sp.v[i].to;
	}
	buf_str(out, str_sub(url, at, url.n));
}

bool store_url_has_secret(struct str url)
{
	struct spans sp;
	secrets(url, &sp);
	return sp.n > 0;
}
