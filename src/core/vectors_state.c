/* How far the vectors are, for whoever asks; and all of them once more. */
#include "base/clock.h"
#include "core/vectors_impl.h"

struct models {
	const char *name;
	int64_t n;
};

static void on_model(void *ctx, struct str model, int64_t n)
{
	struct models *m = ctx;

	if (str_eq(model, str_c(m->name)))
		m->n = n;
}

static enum err copy_state(struct vectors *v, struct arena *a, struct vtenant *t, struct vectors_state *out, int64_t *replacing,
			   int64_t *to_walk, int64_t *all)
{
	int64_t now = clock_wall_us();
	char model[MODEL_ROOM], next[MODEL_ROOM], trouble[sizeof v->work.text];

	pthread_mutex_lock(&v->lock);
	memcpy(model, t->model, sizeof model);
	memcpy(next, t->next, sizeof next);
	memcpy(trouble, v->work.text[0] ? v->work.text : t->trouble.text, sizeof trouble);
	out->pending = t->waiting;
	*replacing = t->replacing;
	*to_walk = t->to_walk;
	*all = t->all;
	out->refused = t->refused_n;
	out->counted = t->counted;
	out->again = t->again_shown;
	out->lag_ms = t->oldest_us && now > t->oldest_us ? (now - t->oldest_us) / 1000 : 0;
	pthread_mutex_unlock(&v->lock);
	out->model = arena_str(a, str_c(model));
	out->next = arena_str(a, str_c(next));
	out->trouble = arena_str(a, str_c(trouble));
	return out->model.p && out->next.p && out->trouble.p ? OK : E_NOMEM;
}

enum err vectors_state(struct vectors *v, struct arena *a, const struct principal *who, struct vectors_state *out)
{
	int64_t replacing, to_walk, all;
	struct store_stats st;
	struct models m;
	struct vtenant *t;

	*out = (struct vectors_state){.model = STR(""), .next = STR(""), .trouble = STR(""), .counted = true};
	if (!v || !v->embedder)
		return OK;
	TRY(principal_check(who, RIGHT_READ));
	TRY(vectors_tenant(v, who->tenant, &t));
	TRY(vectors_learn(v, t, false));
	TRY(copy_state(v, a, t, out, &replacing, &to_walk, &all));
	m = (struct models){.name = out->next.n ? out->next.p : out->model.p};
	TRY(v->store->ops->vector_models(v->store, &t->who, on_model, &m));
	if (!out->counted && all == 0) { /* the worker has not looked yet */
		TRY(v->store->ops->stats(v->store, &t->who, &st));
		to_walk = all = st.items + st.messages + st.texts;
	}
	out->done = m.n > replacing ? m.n - replacing : 0;
	/* What the walk has still to see: made again, or probably missing as far as there are fewer vectors than documents. */
	if (out->again)
		out->done = out->done > to_walk ? out->done - to_walk : 0;
	else if (to_walk > all - m.n)
		to_walk = all > m.n ? all - m.n : 0;
	out->pending += to_walk;
	out->documents = out->done + out->refused + out->pending;
	return OK;
}

int64_t vectors_waiting(struct vectors *v, const struct principal *who)
{
	const struct vtenant *t;
	int64_t n;

	if (!v || !v->embedder)
		return 0;
	pthread_mutex_lock(&v->lock);
	t = map_get(&v->tenants, who->tenant);
	n = t ? t->waiting + t->to_walk : 0;
	pthread_mutex_unlock(&v->lock);
	return n;
}

enum err vectors_reindex(struct vectors *v, const struct principal *who)
{
	struct vtenant *t;

	if (!v || !v->embedder)
		return err_set(E_INVALID, "there is no encoder, so there are no vectors to be made");
	TRY(principal_check(who, RIGHT_WRITE));
	TRY(vectors_tenant(v, who->tenant, &t));
	TRY(vectors_learn(v, t, false));
	pthread_mutex_lock(&v->lock);
	t->again_wanted = true;
	t->again_shown = true;
	t->counted = false;
	t->dirty = true;
	pthread_mutex_unlock(&v->lock);
	TRY(vectors_tell(v, t));
	vectors_wake_worker(v, false);
	return OK;
}

static void total(struct vectors *v, int64_t *waiting, int64_t *lag_ms)
{
	int64_t now = clock_wall_us();
	size_t it = 0;
	struct str key;
	void *p;

	*waiting = *lag_ms = 0;
	pthread_mutex_lock(&v->lock);
	while (map_next(&v->tenants, &it, &key, &p)) {
		const struct vtenant *t = p;
		int64_t ms = t->oldest_us && now > t->oldest_us ? (now - t->oldest_us) / 1000 : 0;

		*waiting += t->waiting + t->to_walk;
		*lag_ms = ms > *lag_ms ? ms : *lag_ms;
	}
	pthread_mutex_unlock(&v->lock);
}

void vectors_metrics(struct vectors *v, struct buf *out)
{
	int64_t waiting, lag_ms;

	if (!v || !v->embedder)
		return;
	total(v, &waiting, &lag_ms);
	buf_printf(out,
		   "# HELP cenote_vectors_pending Texts that have no vector by the model being made yet.\n"
		   "# TYPE cenote_vectors_pending gauge\ncenote_vectors_pending %lld\n"
		   "# HELP cenote_vectors_lag_seconds Age of the oldest text that waits for its vector.\n"
		   "# TYPE cenote_vectors_lag_seconds gauge\ncenote_vectors_lag_seconds %.3f\n",
		   (long long)waiting, (double)lag_ms / 1000);
	buf_printf(out,
		   "# HELP cenote_vectors_made_total Vectors that were made and stored.\n"
		   "# TYPE cenote_vectors_made_total counter\ncenote_vectors_made_total %llu\n"
		   "# HELP cenote_vectors_taken_total Vectors of items that were taken over from LangGraph's PostgresStore.\n"
		   "# TYPE cenote_vectors_taken_total counter\ncenote_vectors_taken_total %llu\n"
		   "# HELP cenote_vectors_given_total Rows that were written for LangGraph's PostgresStore.\n"
		   "# TYPE cenote_vectors_given_total counter\ncenote_vectors_given_total %llu\n"
		   "# HELP cenote_vectors_refused_total Texts that the encoder refused.\n"
		   "# TYPE cenote_vectors_refused_total counter\ncenote_vectors_refused_total %llu\n"
		   "# HELP cenote_vectors_failures_total Attempts that failed and are repeated after a pause.\n"
		   "# TYPE cenote_vectors_failures_total counter\ncenote_vectors_failures_total %llu\n"
		   "# HELP cenote_vectors_switches_total Changes of the model in use.\n"
		   "# TYPE cenote_vectors_switches_total counter\ncenote_vectors_switches_total %llu\n",
		   (unsigned long long)atomic_load(&v->made), (unsigned long long)atomic_load(&v->taken),
		   (unsigned long long)atomic_load(&v->given), (unsigned long long)atomic_load(&v->refused),
		   (unsigned long long)atomic_load(&v->failures), (unsigned long long)atomic_load(&v->switches));
}
