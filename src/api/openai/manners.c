/* The manners of OpenAI's API: how errors look, what a repeated call is, how a list ends (contracts: openai 4). */
#include "api/openai/impl.h"

#include <stdio.h>

#include "base/hash.h"
#include "core/parse.h"

enum { KEY_MAX = 255 };

/* ------------------------------------------------------------------ errors */

/* "/items/3/role" as OpenAI writes it: items[3].role; a name without slashes stays. */
static void write_param(struct jw *w, const char *field)
{
	char text[200];
	size_t n = 0;

	if (!field[0]) {
		jw_null(w);
		return;
	}
	if (field[0] != '/') {
		jw_cstr(w, field);
		return;
	}
	for (const char *p = field + 1; *p && n < sizeof text - 4;) {
		size_t len = strcspn(p, "/"), digits = strspn(p, "0123456789");
		bool index = len > 0 && len == digits;

		if (index)
			text[n++] = '[';
		else if (n > 0)
			text[n++] = '.';
		for (size_t i = 0; i < len && n < sizeof text - 3; i++)
			text[n++] = p[i];
		if (index)
			text[n++] = ']';
		p += len + (p[len] == '/');
	}
	jw_str(w, str_of(text, n));
}

static const char *error_type(int status)
{
	if (status >= 500)
		return "server_error";
	return status == 403 ? "permission_error" : status == 429 ? "rate_limit_error" : "invalid_request_error";
}

static const char *error_code(int status, const struct diag *d)
{
	if (status == 400 && d->code == E_BUSY)
		return "conversation_locked";
	if (status == 404 && strcmp(d->field, "model") == 0)
		return "model_not_found";
	if (status == 404 && strcmp(d->field, "previous_response_id") == 0)
		return "previous_response_not_found";
	return status == 401 ? "invalid_api_key" : status == 502 ? "upstream_error" : NULL;
}

const char *oa_error(struct http_req *rq, int status, struct buf *b)
{
	const struct diag *d = diag_get();
	const char *code = error_code(status, d), *text = d->text;
	struct jw w;

	if (status == 404 && !rq_route(rq))
		text = "There is no such route: of OpenAI's API, Cenote serves responses, chat completions, conversations and "
		       "their items, "
		       "embeddings and models (/v1/responses, /v1/responses/{id}, /v1/responses/{id}/input_items, POST "
		       "/v1/chat/completions, /v1/conversations, "
		       "/v1/conversations/{id}, /v1/conversations/{id}/items, /v1/embeddings, /v1/models)";
	else if (!text[0])
		text = "The request was refused";
	/* Clients repeat a request after a 409, which would only be refused again. */
	if (status == 409)
		rs_header(rq, "x-should-retry", STR("false"));
	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "error");
	jw_obj(&w);
	jw_key(&w, "message");
	jw_cstr(&w, text);
	jw_key(&w, "type");
	jw_cstr(&w, error_type(status));
	jw_key(&w, "param");
	write_param(&w, d->field);
	jw_key(&w, "code");
	if (code)
		jw_cstr(&w, code);
	else
		jw_null(&w);
	if (rq_trace(rq).n) {
		jw_key(&w, "trace_id");
		jw_str(&w, rq_trace(rq));
	}
	jw_end_obj(&w);
	jw_end_obj(&w);
	return "application/json";
}

void oa_answer(struct http_req *rq, enum err e, const struct buf *b)
{
	struct diag *d = diag_get();

	if (e == OK)
		e = b->err;
	if (e == OK) {
		rs_json(rq, 200, buf_slice(b));
		return;
	}
	if (e == E_INVALID && d->code == e)
		d->kind = ERR_SYNTAX; /* 400: there is no 422 in these manners */
	rs_error(rq, e);
}

void oa_answer_write(struct http_req *rq, enum err e, const struct buf *b)
{
	struct buf out;

	if (e != E_BUSY || diag_get()->code != e || diag_get()->kind != ERR_LOCKED) {
		oa_answer(rq, e, b);
		return;
	}
	buf_init(&out, rq_arena(rq), 4096);
	(void)oa_error(rq, 400, &out);
	rs_json(rq, 400, buf_slice(&out));
}

/* ------------------------------------------------------------------ bodies */

enum err oa_body(struct http_req *rq, struct json *doc)
{
	struct str body = rq_body(rq);

	TRY(parse_body(rq_arena(rq), str_trim(body).n > 0 ? body : STR("{}"), doc));
	if (!j_is(json_root(doc), JSON_OBJECT))
		return err_set(E_INVALID, "the body must be a JSON object");
	return OK;
}

/* ---------------------------------------------------------- repeated calls */

bool oa_resent(struct http_req *rq)
{
	struct str n = rq_header(rq, "x-stainless-retry-count");
	int64_t count;

	return n.p && str_int(n, 1, INT64_MAX, &count);
}

enum err oa_key(struct http_req *rq, struct str *key)
{
	*key = rq_header(rq, "Idempotency-Key");
	if (key->p && (key->n < 1 || key->n > KEY_MAX))
		return err_field(E_INVALID, "Idempotency-Key", -1, "Idempotency-Key must have 1 to %d characters, this one has %zu",
				 KEY_MAX, key->n);
	return OK;
}

enum err oa_digest(struct http_req *rq, const char *what, struct str key, struct str thread, struct str *out)
{
	const struct principal *who = rq_principal(rq);
	uint8_t *digest = arena_alloc(rq_arena(rq), SHA256_BYTES);
	struct sha256 h;
	char head[120];

	if (!digest)
		return E_NOMEM;
	/* The lengths in front keep the parts apart. */
	snprintf(head, sizeof head, "%s %zu %zu %zu %zu ", what, who->tenant.n, who->user.n, key.n, thread.n);
	sha256_init(&h);
	sha256_add(&h, head, strlen(head));
	sha256_add(&h, who->tenant.p, who->tenant.n);
	sha256_add(&h, who->user.p, who->user.n);
	sha256_add(&h, key.p, key.n);
	sha256_add(&h, thread.p, thread.n);
	sha256_add(&h, rq_body(rq).p, rq_body(rq).n);
	sha256_end(&h, digest);
	*out = str_of((const char *)digest, SHA256_BYTES);
	return OK;
}

enum err oa_name_turn(struct ask *k)
{
	struct str key;

	TRY(oa_key(k->rq, &key));
	k->turn.again = key.p || oa_resent(k->rq);
	return oa_digest(k->rq, "turn", key, k->turn.thread, &k->turn.once);
}

/* ------------------------------------------------------------------- lists */

void oa_list_end(struct buf *b, struct str first, struct str last, bool more)
{
	buf_lit(b, "],\"first_id\":");
	json_quote(b, first);
	buf_lit(b, ",\"last_id\":");
	json_quote(b, last);
	buf_printf(b, ",\"has_more\":%s}", more ? "true" : "false");
}
