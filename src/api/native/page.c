/* Pages: {"data":[...],"next_cursor":"..."|null,"has_more":...} and the Link header.
 *
 * A cursor is base64url of: version (1 byte), tag (16 bytes), content. The tag is HMAC-SHA256 with the tenant's secret over tenant,
 * bound user, route, the parameters that make the question, and the content.
 *
 * Invariant: a cursor works only for the one who got it, on the route and for the question it was given for. */
#include "api/native/impl.h"
#include "base/hash.h"
#include "core/secret.h"
#include "http/client.h"

enum { CURSOR_VERSION = 1, TAG_BYTES = 16, HEAD_BYTES = 1 + TAG_BYTES, CURSOR_MAX = 4096 };

static void add_part(struct buf *b, struct str s)
{
	buf_varint(b, s.n);
	buf_str(b, s);
}

static enum err tag_of(struct http_req *rq, struct memory *m, const struct page *p, struct str content, uint8_t tag[SHA256_BYTES])
{
	const struct principal *who = rq_principal(rq);
	uint8_t secret[SECRET_BYTES];
	struct buf b;

	TRY(memory_secret(m, rq_arena(rq), who, STR("cursor-secret"), secret));
	buf_init(&b, rq_arena(rq), 1 << 20);
	add_part(&b, who->tenant);
	add_part(&b, who->user_bound ? who->user : STR(""));
	add_part(&b, rq_path(rq));
	for (const char *const *f = p->filters; f && *f; f++) {
		struct str *values;
		size_t n;

		TRY(rq_query_all(rq, *f, &values, &n));
		buf_varint(&b, n);
		for (size_t i = 0; i < n; i++)
			add_part(&b, values[i]);
	}
	add_part(&b, content);
	if (b.err == OK)
		hmac256(str_of((const char *)secret, sizeof secret), buf_slice(&b), tag);
	return b.err;
}

static enum err foreign(void)
{
	enum err e = err_kind(E_INVALID, ERR_SYNTAX, "the cursor does not belong to this request; begin again without one");

	memcpy(diag_get()->field, "cursor", sizeof "cursor");
	return e;
}

enum err page_begin(struct http_req *rq, struct memory *m, struct page *p)
{
	struct str text = rq_query(rq, "cursor");
	uint8_t tag[SHA256_BYTES], *bytes;
	size_t n = text.n;

	p->after = STR("");
	TRY(rq_query_int(rq, "limit", 1, PAGE_MAX, PAGE_DEFAULT, &p->limit));
	if (!text.p)
		return OK;
	bytes = arena_alloc(rq_arena(rq), n + 1);
	if (!bytes)
		return E_NOMEM;
	if (text.n > CURSOR_MAX || !base64url_decode(text, bytes, &n) || n < HEAD_BYTES || bytes[0] != CURSOR_VERSION)
		return foreign();
	p->after = str_of((const char *)bytes + HEAD_BYTES, n - HEAD_BYTES);
	TRY(tag_of(rq, m, p, p->after, tag));
	return secret_eq(tag, bytes + 1, TAG_BYTES) ? OK : foreign();
}

static enum err make_cursor(struct http_req *rq, struct memory *m, const struct page *p, struct str last, struct str *out)
{
	uint8_t tag[SHA256_BYTES], *bytes = arena_alloc(rq_arena(rq), HEAD_BYTES + last.n);
	char *text = arena_alloc(rq_arena(rq), (HEAD_BYTES + last.n + 2) / 3 * 4 + 1);

	if (!bytes || !text)
		return E_NOMEM;
	TRY(tag_of(rq, m, p, last, tag));
	bytes[0] = CURSOR_VERSION;
	memcpy(bytes + 1, tag, TAG_BYTES);
	memcpy(bytes + HEAD_BYTES, last.p, last.n);
	*out = str_of(text, base64url_encode(bytes, HEAD_BYTES + last.n, text));
	return OK;
}

/* Link: <...>; rel="next" with the same question. */
static enum err link_next(struct http_req *rq, const struct page *p, struct str cursor)
{
	struct buf b;

	buf_init(&b, rq_arena(rq), 1 << 16);
	buf_byte(&b, '<');
	buf_str(&b, rq_path(rq));
	buf_printf(&b, "?limit=%lld", (long long)p->limit);
	for (const char *const *f = p->filters; f && *f; f++) {
		struct str *values;
		size_t n;

		TRY(rq_query_all(rq, *f, &values, &n));
		for (size_t i = 0; i < n; i++) {
			struct str v = url_encode(rq_arena(rq), values[i]);

			buf_printf(&b, "&%s=%.*s", *f, STR_ARG(v));
		}
	}
	buf_printf(&b, "&cursor=%.*s>; rel=\"next\"", STR_ARG(cursor));
	if (b.err == OK)
		rs_header(rq, "Link", buf_slice(&b));
	return b.err;
}

enum err page_end(struct http_req *rq, struct memory *m, const struct page *p, struct jw *w, bool more, struct str last)
{
	struct str cursor;

	jw_end_arr(w);
	jw_key(w, "next_cursor");
	if (more) {
		TRY(make_cursor(rq, m, p, last, &cursor));
		TRY(link_next(rq, p, cursor));
		jw_str(w, cursor);
	} else {
		jw_null(w);
	}
	jw_key(w, "has_more");
	jw_bool(w, more);
	jw_end_obj(w);
	return OK;
}
