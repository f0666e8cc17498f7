/* Preparing a write: what can be done without the database. A value that is there twice in a call is taken as it came first, a
 * checkpoint as it came last (but with the parent that came first): what its changes one after the other would leave. */
#include "store/postgres/compact_prepare.h"

/* ---------------------------------------------------------------- once */

static size_t scope_of(struct cw *x, const struct ckpt_change *c)
{
	for (size_t i = x->scopes_n; i-- > 0;)
		if (str_eq(x->scopes[i].thread, c->thread) && str_eq(x->scopes[i].ns, c->ns))
			return i;
	x->scopes[x->scopes_n] = (struct cw_scope){.thread = c->thread, .ns = c->ns};
	return x->scopes_n++;
}

static enum err run_of(struct arena *a, struct str metadata, struct str *out)
{
	struct json doc;
	TRY(json_parse(a, metadata, &pack_json, &doc));
	struct jval run = j_get(json_root(&doc), STR("run_id"));
	*out = (struct str){0};
	if (!j_is(run, JSON_STRING))
		return OK;
	struct str text = j_str(a, run);
	*out = text.p ? compact_uuid(a, text) : text;
	return out->p ? OK : E_NOMEM;
}

static enum err prepare_checkpoint(struct cw *x, const struct ckpt_change *c, size_t scope)
{
	struct cw_checkpoint *k = NULL;
	for (size_t i = 0; i < x->checkpoints_n && !k; i++)
		if (x->checkpoints[i].scope == scope && str_eq(x->checkpoints[i].id, c->id))
			k = &x->checkpoints[i];
	if (!k) {
		k = &x->checkpoints[x->checkpoints_n++];
		*k = (struct cw_checkpoint){.scope = scope, .id = c->id, .parent = c->parent};
	}
	TRY(pack_body(x->a, c->checkpoint, c->metadata, &k->body));
	return run_of(x->a, c->metadata, &k->run);
}

/* The length, then the first chunk and the last one, compressed. */
static enum err ends_of(struct arena *a, const struct pack_chunk *c, size_t n, size_t size, struct str *out)
{
	struct str first = c[0].bytes, last = c[n - 1].bytes, small;
	struct buf b, all;
	buf_init(&b, a, first.n + last.n + 1);
	buf_str(&b, first);
	buf_str(&b, last);
	TRY(b.err);
	TRY(pack_squeeze(a, buf_slice(&b), &small));
	buf_init(&all, a, small.n + 16);
	buf_varint(&all, size);
	buf_str(&all, small);
	*out = buf_slice(&all);
	return all.err;
}

static enum err prepare_value(struct cw *x, const struct ckpt_value *v, size_t scope)
{
	struct pack_chunk *chunks;
	size_t n;
	struct str version = compact_version(x->a, v->version), type = compact_type(x->a, v->type);
	if (!version.p || !type.p)
		return E_NOMEM;
	for (size_t i = 0; i < x->values_n; i++)
		if (x->values[i].scope == scope && str_eq(x->values[i].channel, v->channel) &&
		    str_eq(x->values[i].version, version))
			return OK;
	struct cw_value *out = &x->values[x->values_n++];
	*out = (struct cw_value){.scope = scope, .channel = v->channel, .version = version, .type = type, .raw = v->bytes};
	if (v->bytes.n > PACK_WHOLE && !str_eq(v->type, STR("empty"))) {
		TRY(pack_cut(x->a, v->bytes, &chunks, &n));
		out->chunked = n > 2;
	}
	if (!out->chunked)
		return pack_squeeze(x->a, v->bytes, &out->data);
	out->chunks = chunks + 1;
	out->n = n - 2;
	return ends_of(x->a, chunks, n, v->bytes.n, &out->data);
}

static enum err prepare_task(struct cw *x, const struct ckpt_change *c, size_t scope)
{
	struct cw_task *k = NULL;
	for (size_t i = 0; i < x->tasks_n && !k; i++)
		if (x->tasks[i].scope == scope && str_eq(x->tasks[i].id, c->id) &&
		    str_eq(x->tasks[i].task_id, c->writes[0].task_id))
			k = &x->tasks[i];
	if (!k) {
		k = &x->tasks[x->tasks_n++];
		*k = (struct cw_task){.scope = scope, .id = c->id, .task_id = c->writes[0].task_id};
		k->task = compact_uuid(x->a, k->task_id);
		if (!k->task.p)
			return E_NOMEM;
	}
	const struct ckpt_change **v = arena_grow(x->a, k->changes, k->n * sizeof *v, (k->n + 1) * sizeof *v);
	if (!v)
		return E_NOMEM;
	k->changes = v;
	k->changes[k->n++] = c;
	return OK;
}

static enum err room(struct cw *x)
{
	size_t values = 0;
	for (size_t i = 0; i < x->n; i++)
		values += x->c[i].op == CK_PUT ? x->c[i].values_n : 0;
	x->scopes = ARENA_ARRAY(x->a, struct cw_scope, x->n);
	x->checkpoints = ARENA_ARRAY(x->a, struct cw_checkpoint, x->n);
	x->tasks = ARENA_ARRAY(x->a, struct cw_task, x->n);
	x->values = ARENA_ARRAY(x->a, struct cw_value, values + 1);
	return x->scopes && x->checkpoints && x->tasks && x->values ? OK : E_NOMEM;
}

enum err cw_prepare(struct cw *x)
{
	TRY(room(x));
	for (size_t i = 0; i < x->n; i++) {
		const struct ckpt_change *c = &x->c[i];
		if (c->op == CK_WRITES && c->writes_n == 0)
			continue;
		size_t scope = scope_of(x, c);
		if (c->op == CK_WRITES) {
			TRY(prepare_task(x, c, scope));
			continue;
		}
		TRY(prepare_checkpoint(x, c, scope));
		for (size_t k = 0; k < c->values_n; k++)
			TRY(prepare_value(x, &c->values[k], scope));
	}
	return OK;
}

/* ---------------------------------------------------------------- for every attempt */

static enum err chunk_number(struct cw *x, struct compact_stream *st, size_t value, const struct pack_chunk *c, size_t *cap,
			     int64_t *out)
{
	*out = compact_number(st, c->name);
	if (*out)
		return OK;
	if (st->next > COMPACT_CHUNKS_MAX)
		return err_set(E_LIMIT, "a channel has more than %lld pieces; copy the thread and go on there",
			       (long long)COMPACT_CHUNKS_MAX);
	if (x->chunks_n == *cap) {
		size_t more = *cap ? *cap * 2 : 64;
		x->chunks = arena_grow(x->again, x->chunks, *cap * sizeof *x->chunks, more * sizeof *x->chunks);
		if (!x->chunks)
			return E_NOMEM;
		*cap = more;
	}
	struct cw_chunk *k = &x->chunks[x->chunks_n++];
	*k = (struct cw_chunk){.value = value, .n = *out = st->next++};
	TRY(pack_squeeze(x->again, c->bytes, &k->data));
	return compact_learn(st, c->name, k->n);
}

static enum err number_value(struct cw *x, size_t i, size_t *cap)
{
	struct cw_value *v = &x->values[i];
	struct compact_stream *st;
	struct buf b;
	int64_t from = 0, to = 0, k = 0;
	TRY(compact_stream_get(x->scopes[v->scope].s, v->channel, true, &st));
	buf_init(&b, x->again, 64 + v->n * 24);
	buf_byte(&b, '{');
	for (size_t c = 0; c <= v->n; c++) {
		if (c < v->n)
			TRY(chunk_number(x, st, i, &v->chunks[c], cap, &k));
		if (c > 0 && c < v->n && k == to + 1) {
			to = k;
			continue;
		}
		if (c > 0)
			buf_printf(&b, "%s%lld,%lld", b.n > 1 ? "," : "", (long long)from, (long long)to);
		from = to = k;
	}
	buf_byte(&b, '}');
	v->runs = buf_slice(&b);
	x->chunked++;
	return b.err;
}

static enum err task_row(struct cw *x, struct cw_task *k)
{
	struct ckpt_pending *v = NULL;
	size_t n = 0;
	if (k->old.p)
		TRY(pack_unpending(x->again, k->old, k->task_id, &v, &n));
	for (size_t i = 0; i < k->n; i++)
		TRY(pack_pending_merge(x->again, v, n, k->changes[i]->writes, k->changes[i]->writes_n, k->changes[i]->replace, &v,
				       &n));
	k->marks = pack_pending_marks(v, n);
	return pack_pending(x->again, v, n, &k->data);
}

enum err cw_number(struct cw *x)
{
	size_t cap = 0;
	x->chunks = NULL;
	x->chunks_n = x->chunked = 0;
	for (size_t i = 0; i < x->values_n; i++)
		if (x->values[i].chunked && !x->values[i].there)
			TRY(number_value(x, i, &cap));
	for (size_t i = 0; i < x->tasks_n; i++)
		TRY(task_row(x, &x->tasks[i]));
	return OK;
}
