/* Items: get, put and what the other files of memory share (search.c, list.c, batch.c, sweep.c).
 *
 * A put passes here on its way: checked (names, limits, value is a JSON object), its index document built, handed to the store's
 * item_write, which returns when the item is durable. */
#include "core/memory_impl.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "core/fact_store.h"
#include "core/parse.h"
#include "core/vectors.h"
#include "core/words.h"

/* A hundred years: a longer ttl is a mistake of units. */
static const double ttl_max_minutes = 52560000;

enum err memory_new(struct store *store, const struct memory_options *opt, struct memory **out)
{
	struct memory *m = calloc(1, sizeof *m);
	enum err e = OK;

	*out = NULL;
	if (!m)
		return err_set(E_LIMIT, "out of memory");
	m->store = store;
	m->opt = *opt;
	if (opt->languages.n > 0) {
		m->languages = malloc(opt->languages.n);
		if (!m->languages) {
			e = err_set(E_LIMIT, "out of memory");
			goto out;
		}
		memcpy(m->languages, opt->languages.p, opt->languages.n);
		m->opt.languages = str_of(m->languages, opt->languages.n);
	} else {
		m->opt.languages = STR("english");
	}
	CHECK(words_new(store, opt->index_cache_bytes, m->opt.languages, &m->words));
	*out = m;
	return OK;
out:
	memory_free(m);
	return e;
}

void memory_free(struct memory *m)
{
	if (!m)
		return;
	if (m->words)
		words_free(m->words);
	free(m->languages);
	free(m);
}

struct store *memory_store(struct memory *m)
{
	return m->store;
}

struct words *memory_words(struct memory *m)
{
	return m->words;
}

struct vectors *memory_vectors(struct memory *m)
{
	return m->opt.vectors;
}

struct texts *memory_texts(struct memory *m)
{
	return m->opt.texts;
}

void memory_metrics(struct memory *m, struct buf *out)
{
	static const char *const names[] = {"get", "search", "list_namespaces", "put", "delete"};

	buf_lit(out, "# HELP cenote_memory_operations_total Item operations begun, by kind.\n"
		     "# TYPE cenote_memory_operations_total counter\n");
	for (size_t i = 0; i < 5; i++)
		buf_printf(out, "cenote_memory_operations_total{op=\"%s\"} %llu\n", names[i],
			   (unsigned long long)atomic_load_explicit(&m->ops[i], memory_order_relaxed));
	buf_printf(out,
		   "# HELP cenote_expired_total What the sweeper removed because its time had come.\n"
		   "# TYPE cenote_expired_total counter\ncenote_expired_total{kind=\"memory\"} %llu\n"
		   "# HELP cenote_search_widened_total Searches that looked further because a filter removed hits.\n"
		   "# TYPE cenote_search_widened_total counter\ncenote_search_widened_total %llu\n",
		   (unsigned long long)atomic_load_explicit(&m->expired, memory_order_relaxed),
		   (unsigned long long)atomic_load_explicit(&m->widened, memory_order_relaxed));
	words_metrics(m->words, out);
	if (m->store->ops->metrics)
		m->store->ops->metrics(m->store, out);
}

int64_t memory_omit_us(const struct memory *m)
{
	return m->opt.omit_expired ? clock_wall_us() : 0;
}

bool memory_refreshes(const struct memory *m, enum tri wanted)
{
	return wanted == TRI_UNSET ? m->opt.refresh_on_read : wanted == TRI_YES;
}

void memory_expires(struct memory *m, int64_t expires_us)
{
	int64_t seen = atomic_load_explicit(&m->next_expiry_us, memory_order_relaxed);

	while (expires_us > 0 && (seen == 0 || expires_us < seen))
		if (atomic_compare_exchange_weak_explicit(&m->next_expiry_us, &seen, expires_us, memory_order_relaxed,
							  memory_order_relaxed))
			break;
}

static enum err ttl_of(const struct memory *m, double asked, double *out)
{
	*out = asked == TTL_DEFAULT ? m->opt.default_ttl_minutes : asked;
	if (!isfinite(*out) || *out < 0 || *out > ttl_max_minutes)
		return err_field(E_INVALID, "ttl_minutes", -1, "the time to live is 0 (none) to 52560000 minutes");
	return OK;
}

static enum err value_check(struct arena *a, struct str value, struct json *doc)
{
	struct json_limits lim = json_default_limits;
	enum err e;

	if (value.n > VALUE_MAX_BYTES) {
		e = err_field(E_LIMIT, "value", -1, "a value has at most %u bytes, this one has %zu", VALUE_MAX_BYTES, value.n);
		diag_get()->kind = ERR_SIZE;
		return e;
	}
	e = parse_refusal(json_parse(a, value, &lim, doc));
	if (e != OK)
		return err_wrap(e, "the value");
	if (!j_is(json_root(doc), JSON_OBJECT))
		return err_field(E_INVALID, "value", -1, "the value is not a JSON object");
	return OK;
}

static enum err fact_of(struct arena *a, const struct op_put *op, struct item_write *w)
{
	struct fact_put *f = ARENA_NEW(a, struct fact_put);

	if (!f)
		return E_NOMEM;
	if (op->valid_from_us != FACT_NONE && op->valid_to_us != FACT_NONE && op->valid_from_us > op->valid_to_us)
		return err_field(E_INVALID, "valid_to", -1, "valid_to is earlier than valid_from");
	*f = (struct fact_put){.valid_from_us = op->valid_from_us, .valid_to_us = op->valid_to_us};
	w->fact = f;
	return OK;
}

enum err memory_retire(struct arena *a, const struct op_put *op, struct item_write *put, struct item_write **w, size_t *n)
{
	struct fact_put *by;

	*n = 0;
	if (op->supersedes_n == 0)
		return OK;
	if (!op->fact || op->supersedes_n > SUPERSEDES_MAX)
		return err_field(E_INVALID, "supersedes", -1, "a fact supersedes at most %d keys, got %zu", SUPERSEDES_MAX,
				 op->supersedes_n);
	*w = ARENA_ARRAY(a, struct item_write, op->supersedes_n);
	by = ARENA_NEW(a, struct fact_put);
	if (!*w || !by)
		return E_NOMEM;
	*by = (struct fact_put){.valid_from_us = op->valid_from_us, .valid_to_us = FACT_NONE, .by = op->key};
	/* One time for all of it: at no time was neither known. */
	if (put->updated_us == 0)
		put->updated_us = clock_unique_us();
	for (size_t i = 0; i < op->supersedes_n; i++) {
		bool again = str_eq(op->supersedes[i], op->key);

		TRY(key_check(op->supersedes[i], "supersedes"));
		for (size_t k = 0; k < *n && !again; k++)
			again = str_eq((*w)[k].key, op->supersedes[i]);
		if (!again)
			(*w)[(*n)++] = (struct item_write){.op = W_RETIRE,
							   .ns = op->ns,
							   .key = op->supersedes[i],
							   .terms = STR(""),
							   .fact = by,
							   .updated_us = put->updated_us};
	}
	return OK;
}

enum err memory_prepare(struct memory *m, struct arena *a, const struct principal *who, const struct op_put *op,
			struct item_write *w)
{
	struct json doc;

	TRY(principal_check(who, RIGHT_WRITE));
	TRY(ns_check(op->ns, "namespace", false));
	TRY(principal_namespace(who, op->ns));
	TRY(key_check(op->key, "key"));
	*w = (struct item_write){.op = op->value.p ? W_PUT : W_DELETE,
				 .cond = op->cond,
				 .if_version = op->if_version,
				 .ns = op->ns,
				 .key = op->key,
				 .terms = STR("")};
	atomic_fetch_add_explicit(&m->ops[op->value.p ? OP_PUT : OP_DELETE], 1, memory_order_relaxed);
	if (w->op == W_DELETE)
		return OK;
	TRY(ttl_of(m, op->ttl_minutes, &w->ttl_minutes));
	TRY(value_check(a, op->value, &doc));
	if (op->index != TRI_NO)
		TRY(words_item_doc(m->words, a, op->ns, &doc, op->index_paths, op->index_paths_n, &w->terms));
	w->value = j_raw(json_root(&doc));
	w->created_us = op->created_us;
	w->updated_us = op->updated_us;
	w->expires_us = op->expires_us;
	w->keep_newer = op->keep_newer;
	return op->fact ? fact_of(a, op, w) : OK;
}

void memory_finish(struct memory *m, struct op_put *op, const struct item_write *w)
{
	op->existed = w->existed;
	op->changed = w->changed;
	op->version = w->version;
	op->forgot = w->forgot;
	if (w->op == W_PUT && w->err == OK && w->ttl_minutes > 0) {
		int64_t from = w->updated_us ? w->updated_us : clock_wall_us();

		memory_expires(m, w->expires_us ? w->expires_us : from + (int64_t)(w->ttl_minutes * 60e6));
	}
}

struct prepare_job {
	struct memory *m;
	struct arena *a;
	const struct principal *who;
	const struct op_put *op;
	struct item_write *w;
};

static enum err prepare_run(void *arg)
{
	struct prepare_job *j = arg;

	return memory_prepare(j->m, j->a, j->who, j->op, j->w);
}

static enum err put_superseding(struct memory *m, struct arena *a, const struct principal *who, struct op_put *op,
				const struct item_write *put, const struct item_write *retired, size_t n)
{
	struct item_write *w = ARENA_ARRAY(a, struct item_write, n + 1);

	if (!w)
		return E_NOMEM;
	memcpy(w, retired, n * sizeof *w);
	w[n] = *put;
	TRY(m->store->ops->item_write(m->store, who, w, n + 1, true));
	memory_finish(m, op, &w[n]);
	for (size_t i = op->superseded = 0; i < n; i++)
		op->superseded += w[i].changed;
	if (w[n].terms.n > 0)
		vectors_wake(m->opt.vectors, who->tenant);
	return OK;
}

enum err memory_put(struct memory *m, struct arena *a, const struct principal *who, struct op_put *op)
{
	struct item_write w, *all;
	struct prepare_job j = {m, a, who, op, &w};
	size_t n;

	TRY(run_sized(op->value.n, prepare_run, &j));
	TRY(memory_retire(a, op, &w, &all, &n));
	if (n > 0)
		return put_superseding(m, a, who, op, &w, all, n);
	TRY(m->store->ops->item_write(m->store, who, &w, 1, true));
	memory_finish(m, op, &w);
	if (w.terms.n > 0)
		vectors_wake(m->opt.vectors, who->tenant);
	return w.err;
}

enum err memory_touch(struct memory *m, struct arena *a, const struct principal *who, struct item **items, size_t n)
{
	struct item_write *w;
	size_t k = 0;
	int64_t now = clock_wall_us();

	for (size_t i = 0; i < n; i++)
		k += items[i]->ttl_minutes > 0;
	if (k == 0)
		return OK;
	w = ARENA_ARRAY(a, struct item_write, k);
	if (!w)
		return E_NOMEM;
	k = 0;
	for (size_t i = 0; i < n; i++) {
		if (items[i]->ttl_minutes <= 0)
			continue;
		w[k++] = (struct item_write){.op = W_TOUCH, .ns = items[i]->ns, .key = items[i]->key};
		items[i]->expires_us = now + (int64_t)(items[i]->ttl_minutes * 60e6);
	}
	return m->store->ops->item_write(m->store, who, w, k, false);
}

enum err memory_get(struct memory *m, struct arena *a, const struct principal *who, struct op_get *op)
{
	struct item *one = &op->item;

	op->found = false;
	TRY(principal_check(who, RIGHT_READ));
	TRY(ns_check(op->ns, "namespace", true));
	TRY(principal_namespace(who, op->ns));
	TRY(key_check(op->key, "key"));
	atomic_fetch_add_explicit(&m->ops[OP_GET], 1, memory_order_relaxed);
	TRY(m->store->ops->item_get(m->store, a, who, op->ns, op->key, memory_omit_us(m), &op->item, &op->found));
	if (op->found && memory_refreshes(m, op->refresh))
		return memory_touch(m, a, who, &one, 1);
	return OK;
}
