/* POST /embeddings, GET /models, GET /models/{id}: the encoder for OpenAI's clients (contracts: openai 8). */
#include "api/openai/impl.h"

#include <stdio.h>

#include "core/embed_json.h"
#include "core/parse.h"

#define MODEL_MAX 256
#define PIECE ((size_t)128 << 10)
/* For the vectors of one call: twice 2048 of the longest, as a cache has its own copy. */
#define VECTORS_MAX ((size_t)192 << 20)

/* kind, a member of our own: "embedding" or "chat". */
static void write_model(struct buf *b, struct str name, const char *kind)
{
	buf_lit(b, "{\"id\":");
	json_quote(b, name);
	buf_printf(b, ",\"object\":\"model\",\"created\":1,\"owned_by\":\"cenote\",\"kind\":\"%s\"}", kind);
}

void oa_models_list(struct http_req *rq, void *ctx)
{
	struct openai_models *m = ctx;
	struct buf b;

	buf_init(&b, rq_arena(rq), 4096);
	buf_lit(&b, "{\"object\":\"list\",\"data\":[");
	if (m->encoder)
		write_model(&b, m->encoder->model, "embedding");
	if (m->encoder && m->chat.p)
		buf_byte(&b, ',');
	if (m->chat.p)
		write_model(&b, m->chat, "chat");
	buf_lit(&b, "]}");
	oa_answer(rq, OK, &b);
}

/* E_NOT_FOUND says which model there is, or why there is none. */
static enum err known(const struct openai_models *m, struct str id)
{
	struct str shown = str_sub(id, 0, MODEL_MAX);

	if (!m->encoder)
		return err_field(E_NOT_FOUND, "model", -1, "this server has no embedding model: %s", m->why);
	if (!str_eq(id, m->encoder->model))
		return err_field(E_NOT_FOUND, "model", -1, "there is no model \"%.*s\"; there is \"%.*s\"", STR_ARG(shown),
				 STR_ARG(m->encoder->model));
	return OK;
}

void oa_model_get(struct http_req *rq, void *ctx)
{
	struct openai_models *m = ctx;
	struct str id = rq_param(rq, "id");
	bool chat = m->chat.p && str_eq(id, m->chat);
	enum err e = chat ? OK : known(m, id);
	struct buf b;

	buf_init(&b, rq_arena(rq), 4096);
	if (e == OK)
		write_model(&b, id, chat ? "chat" : "embedding");
	oa_answer(rq, e, &b);
}

/* -------------------------------------------------------------- POST /embeddings */

struct wanted {
	struct str *texts;
	size_t n;
	bool packed;
	int64_t dims; /* 0: any */
};

/* The array's texts; whatever else it holds is named. */
static enum err read_list(struct arena *a, struct jval list, struct wanted *w)
{
	struct j_iter it = j_iter(list);
	struct jval x;
	char field[32];

	if (j_node(list)->count < 1 || j_node(list)->count > EMBED_BATCH_MAX)
		return err_field(E_INVALID, "/input", -1, "input must have 1 to %d texts, this one has %u", EMBED_BATCH_MAX,
				 (unsigned)j_node(list)->count);
	w->texts = ARENA_ARRAY(a, struct str, j_node(list)->count);
	if (!w->texts)
		return E_NOMEM;
	while (j_next(&it, NULL, &x)) {
		snprintf(field, sizeof field, "/input/%zu", w->n);
		if (j_is(x, JSON_NUMBER) || j_is(x, JSON_ARRAY))
			return err_field(E_INVALID, "/input", -1,
					 "input has tokens, whose meaning only their own tokenizer knows; send texts");
		if (!j_is(x, JSON_STRING))
			return err_field(E_INVALID, field, -1, "input must have texts only");
		w->texts[w->n] = j_str(a, x);
		if (!w->texts[w->n++].p)
			return E_NOMEM;
	}
	return OK;
}

static enum err read_input(struct arena *a, struct jval input, struct wanted *w)
{
	if (j_is(input, JSON_ARRAY))
		return read_list(a, input, w);
	if (!j_is(input, JSON_STRING))
		return err_field(E_INVALID, "/input", -1, "input is missing: a text, or an array of texts");
	w->texts = ARENA_NEW(a, struct str);
	if (!w->texts)
		return E_NOMEM;
	w->texts[w->n++] = j_str(a, input);
	return w->texts[0].p ? OK : E_NOMEM;
}

static enum err read_body(struct http_req *rq, const struct openai_models *m, struct json *doc, struct wanted *w)
{
	struct arena *a = rq_arena(rq);
	struct jval root, model, format, dims;

	TRY(oa_body(rq, doc));
	root = json_root(doc);
	model = j_get(root, STR("model"));
	if (!j_is(model, JSON_STRING))
		return err_field(E_INVALID, "/model", -1, "model is missing: the name of an embedding model (GET /v1/models)");
	TRY(known(m, j_str(a, model)));
	format = j_get(root, STR("encoding_format"));
	w->packed = j_is(format, JSON_STRING) && j_str_eq(format, STR("base64"));
	if (!j_null(format) && !w->packed && !(j_is(format, JSON_STRING) && j_str_eq(format, STR("float"))))
		return err_field(E_INVALID, "/encoding_format", -1, "encoding_format must be float or base64");
	dims = j_get(root, STR("dimensions"));
	if (!j_null(dims) && (!j_i64(dims, &w->dims) || w->dims < 1 || w->dims > EMBED_DIMS_MAX))
		return err_field(E_INVALID, "/dimensions", -1, "dimensions must be a number from 1 to %d", EMBED_DIMS_MAX);
	return read_input(a, j_get(root, STR("input")), w);
}

static enum err check_dims(const struct wanted *w, const struct embedder *e, uint32_t dims)
{
	if (w->dims == 0 || dims == 0 || w->dims == dims)
		return OK;
	return err_field(E_INVALID, "/dimensions", -1, "the vectors of %.*s have %u dimensions; others are not made",
			 STR_ARG(e->model), (unsigned)dims);
}

/* What an encoder's failure is to a client: a service that sends what is no vector is a service that fails. */
static enum err encoded(enum err e)
{
	struct diag *d = diag_get();

	if (e == E_CORRUPT && d->code == e) {
		d->code = E_UPSTREAM;
		return E_UPSTREAM;
	}
	return e;
}

/* One piece after the other, so that an answer of any size takes little memory. */
static enum err send_pieces(struct http_req *rq, const struct openai_models *m, const struct wanted *w,
			    const struct embed_vectors *v, bool *begun)
{
	size_t text = (size_t)v->dims * (w->packed ? 6 : 13) + 64, step = text < PIECE ? PIECE / text : 1;
	struct buf b;
	enum err e = OK;

	buf_init(&b, NULL, 4 * PIECE + 16 * EMBED_DIMS_MAX);
	buf_lit(&b, "{\"object\":\"list\",\"data\":[");
	for (size_t at = 0; at < v->n; at += step) {
		if (at)
			buf_byte(&b, ',');
		CHECK(embed_json(v, at, at + step < v->n ? at + step : v->n, w->packed, &b));
		if (at + step >= v->n)
			break;
		if (!*begun)
			CHECK(rs_begin(rq, 200, "application/json"));
		*begun = true;
		CHECK(rs_write(rq, buf_slice(&b)));
		buf_clear(&b);
	}
	buf_lit(&b, "],\"model\":");
	json_quote(&b, m->encoder->model);
	buf_printf(&b, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", (unsigned long long)v->tokens,
		   (unsigned long long)v->tokens);
	CHECK(b.err);
	if (!*begun) {
		rs_json(rq, 200, buf_slice(&b));
	} else {
		CHECK(rs_write(rq, buf_slice(&b)));
		rs_end(rq);
	}
out:
	buf_release(&b);
	return e;
}

void oa_embeddings(struct http_req *rq, void *ctx)
{
	struct openai_models *m = ctx;
	struct embed_vectors v = {0};
	struct wanted w = {0};
	struct arena vectors;
	struct json doc;
	struct buf none;
	bool begun = false;
	enum err e;

	buf_init(&none, rq_arena(rq), 1);
	arena_init(&vectors, VECTORS_MAX);
	CHECK(read_body(rq, m, &doc, &w));
	CHECK(check_dims(&w, m->encoder, __atomic_load_n(&m->encoder->dims, __ATOMIC_ACQUIRE)));
	CHECK(encoded(embed_encode(m->encoder, &vectors, w.texts, w.n, &v)));
	CHECK(check_dims(&w, m->encoder, v.dims));
	e = send_pieces(rq, m, &w, &v, &begun);
out:
	arena_release(&vectors);
	if (begun && e != OK)
		rs_abort(rq);
	else if (e != OK)
		oa_answer(rq, e, &none);
}
