/* The list of hosts that tools may reach. Pure computation; see allow.h. */
#include "tool/allow.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/buf.h"

/* ------------------------------------------------------------------- addresses */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool address_of(struct str text, uint8_t out[16], unsigned *whole)
{
	char z[INET6_ADDRSTRLEN + 1];

	if (text.n == 0 || text.n >= sizeof z)
		return false;
	memcpy(z, text.p, text.n);
	z[text.n] = 0;
	*whole = 128;
	if (inet_pton(AF_INET6, z, out) == 1)
		return true;
	memcpy(out, mapped, sizeof mapped);
	*whole = 32;
	return inet_pton(AF_INET, z, out + 12) == 1;
}

static bool within(const uint8_t a[16], const uint8_t net[16], unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	if (memcmp(a, net, bytes) != 0)
		return false;
	return rest == 0 || ((a[bytes] ^ net[bytes]) >> (8 - rest)) == 0;
}

/* Networks of which nobody on the internet has an address. */
static bool special4(const uint8_t a[4])
{
	static const struct {
		uint8_t net[4];
		unsigned bits;
	} nets[] = {{{0}, 8},	      {{10}, 8},       {{100, 64}, 10},	     {{127}, 8},
		    {{169, 254}, 16}, {{172, 16}, 12}, {{192, 0, 0}, 24},    {{192, 0, 2}, 24},
		    {{192, 168}, 16}, {{198, 18}, 15}, {{198, 51, 100}, 24}, {{203, 0, 113}, 24},
		    {{224}, 4},	      {{240}, 4}};
	uint32_t v = (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 | (uint32_t)a[2] << 8 | a[3];

	for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
		const uint8_t *n = nets[i].net;
		uint32_t w = (uint32_t)n[0] << 24 | (uint32_t)n[1] << 16 | (uint32_t)n[2] << 8 | n[3];

		if ((v ^ w) >> (32 - nets[i].bits) == 0)
			return true;
	}
	return false;
}

static bool special(const uint8_t a[16])
{
	static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};

	if (memcmp(a, mapped, sizeof mapped) == 0 || memcmp(a, nat64, sizeof nat64) == 0)
		return special4(a + 12);
	if (a[0] == 0x20 && a[1] == 0x02) /* an IPv4 address lies within */
		return special4(a + 2);
	return (a[0] & 0xe0) != 0x20 || (a[0] == 0x20 && a[1] == 0x01 && a[2] < 2); /* not 2000::/3, or of tunnels and tests */
}

static bool loopback(const uint8_t a[16])
{
	if (memcmp(a, mapped, sizeof mapped) == 0)
		return a[12] == 127;
	return memcmp(a, in6addr_loopback.s6_addr, sizeof in6addr_loopback.s6_addr) == 0;
}

/* -------------------------------------------------------------------- entries */

static bool name_ok(struct str s)
{
	if (s.n < 1 || s.n > 253 || s.p[0] == '.' || s.p[0] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
			return false;
	}
	return true;
}

static struct str lower(struct arena *a, struct str s)
{
	struct str copy = arena_str(a, s);
	char *p = (char *)copy.p;

	for (size_t i = 0; p && i < s.n; i++)
		if (p[i] >= 'A' && p[i] <= 'Z')
			p[i] = (char)(p[i] - 'A' + 'a');
	return copy;
}

static enum err wrong(struct str text)
{
	return err_set(E_INVALID,
		       "\"%.*s\" is no host: it must be NAME, *.DOMAIN or ADDRESS, each with :PORT or not ([ADDRESS6]:PORT), or "
		       "NETWORK/BITS",
		       STR_ARG(str_sub(text, 0, 100)));
}

static enum err parse_network(struct str s, struct allow_entry *out)
{
	struct str net, bits;
	unsigned whole;
	int64_t n;

	str_cut(s, '/', &net, &bits);
	if (!address_of(net, out->net, &whole) || !str_int(bits, 0, whole, &n))
		return wrong(s);
	out->bits = (unsigned)n + 128 - whole;
	return OK;
}

static enum err parse_one(struct arena *a, struct str text, struct allow_entry *out)
{
	struct str s, port = STR("");
	unsigned whole;
	int64_t n;

	*out = (struct allow_entry){.text = arena_str(a, text)};
	s = lower(a, str_trim(text));
	if (!s.p || !out->text.p)
		return E_NOMEM;
	if (str_chr(s, '/', 0) >= 0)
		return parse_network(s, out);
	if (s.n && s.p[0] == '[') {
		ptrdiff_t end = str_chr(s, ']', 0);

		if (end < 0 || (s.n > (size_t)end + 1 && s.p[end + 1] != ':'))
			return wrong(text);
		port = str_sub(s, (size_t)end + 2, s.n);
		s = str_sub(s, 1, (size_t)end);
	} else if (!address_of(s, out->net, &whole)) {
		str_cut(s, ':', &s, &port);
	}
	if (port.n && !str_int(port, 1, 65535, &n))
		return wrong(text);
	out->port = port.n ? (uint16_t)n : 0;
	out->address = address_of(s, out->net, &whole);
	out->bits = 128;
	out->host = str_starts(s, STR("*.")) ? str_sub(s, 1, s.n) : s;
	if (!out->address && !name_ok(str_starts(s, STR("*.")) ? str_sub(s, 2, s.n) : s))
		return wrong(text);
	return OK;
}

enum err allow_parse(struct arena *a, const struct str *entries, size_t n, struct allow *out)
{
	*out = (struct allow){.v = ARENA_ARRAY(a, struct allow_entry, n + 1), .n = n};
	if (n > ALLOW_MAX)
		return err_set(E_INVALID, "there are more than %d hosts", ALLOW_MAX);
	if (!out->v)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		TRY(parse_one(a, entries[i], &out->v[i]));
	return OK;
}

/* -------------------------------------------------------------------- asking */

static bool names(const struct allow_entry *e, struct str host)
{
	uint8_t addr[16];
	unsigned whole;

	if (!e->host.n)
		return false;
	if (e->address)
		return address_of(host, addr, &whole) && memcmp(addr, e->net, sizeof addr) == 0;
	if (e->host.p[0] == '.')
		return host.n > e->host.n && str_ieq(str_sub(host, host.n - e->host.n, host.n), e->host);
	return str_ieq(host, e->host);
}

bool allow_host(const struct allow *l, struct str host, uint16_t port, bool secure)
{
	for (size_t i = 0; i < l->n; i++) {
		uint16_t its = l->v[i].port ? l->v[i].port : secure ? 443 : 80;

		if (its == port && names(&l->v[i], host))
			return true;
	}
	return false;
}

bool allow_address(const struct allow *l, const struct sockaddr *to)
{
	uint8_t a[16];
	uint16_t port;

	if (to->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)to;

		memcpy(a, mapped, sizeof mapped);
		memcpy(a + 12, &in->sin_addr, 4);
		port = ntohs(in->sin_port);
	} else if (to->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)to;

		memcpy(a, &in->sin6_addr, sizeof a);
		port = ntohs(in->sin6_port);
	} else {
		return false;
	}
	if (!special(a))
		return true;
	for (size_t i = 0; i < l->n; i++) {
		const struct allow_entry *e = &l->v[i];
		bool its_port = e->port == port || (!e->port && (port == 80 || port == 443));

		if (!e->host.n && within(a, e->net, e->bits))
			return true;
		if (its_port && e->address && memcmp(a, e->net, sizeof a) == 0)
			return true;
		if (its_port && loopback(a) && str_eq(e->host, STR("localhost")))
			return true;
	}
	return false;
}

struct str allow_text(const struct allow *l, struct arena *a)
{
	struct buf b;

	buf_init(&b, a, 65536);
	for (size_t i = 0; i < l->n; i++)
		buf_printf(&b, "%s%.*s", i ? ", " : "", STR_ARG(l->v[i].text));
	return l->n ? buf_slice(&b) : STR("none");
}
