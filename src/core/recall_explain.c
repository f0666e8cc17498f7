/* Why a hit is where it is: each feature's value, weight and contribution, as JSON. */
#include <math.h>

#include "core/recall_impl.h"

static void explain_newest(struct jw *w)
{
	jw_obj(w);
	jw_key(w, "order");
	jw_cstr(w, "newest first");
	jw_key(w, "reason");
	jw_cstr(w, "the question has no words to look for");
	jw_end_obj(w);
}

/* One feature. */
static void explain_feature(struct jw *w, enum rank_feature f, double value, double weight)
{
	jw_key(w, rank_feature_name(f));
	jw_obj(w);
	jw_key(w, "value");
	jw_double(w, value);
	jw_key(w, "weight");
	jw_double(w, weight);
	jw_key(w, "contribution");
	jw_double(w, value * weight);
	jw_end_obj(w);
}

static void key_double(struct jw *w, const char *key, double v)
{
	jw_key(w, key);
	jw_double(w, v);
}

static void explain_scope(struct jw *w, const struct rank_result *res)
{
	jw_key(w, "terms");
	jw_arr(w);
	for (size_t t = 0; t < res->terms_n; t++) {
		jw_obj(w);
		jw_key(w, "term");
		jw_str(w, res->terms[t].text);
		key_double(w, "weight", res->terms[t].weight);
		key_double(w, "idf", res->terms[t].idf);
		jw_key(w, "passages");
		jw_u64(w, res->terms[t].df);
		jw_end_obj(w);
	}
	jw_end_arr(w);
	jw_key(w, "dates");
	jw_u64(w, res->spans_n);
	jw_key(w, "roles");
	jw_bool(w, res->roles);
	jw_key(w, "messages");
	jw_u64(w, res->messages);
	jw_key(w, "passages");
	jw_u64(w, res->passages);
	jw_key(w, "candidates");
	jw_u64(w, res->candidates);
}

static void explain_message(struct jw *w, const struct rank_result *res, const struct ranked *m)
{
	jw_key(w, "features");
	jw_obj(w);
	for (int f = 0; f < RF_COUNT; f++)
		if (res->weights[f] != 0)
			explain_feature(w, (enum rank_feature)f, m->f[f], res->weights[f]);
	jw_end_obj(w);
	key_double(w, "sum", m->sum);
	if (!isnan(m->cosine))
		key_double(w, "cosine", m->cosine);
	explain_scope(w, res);
}

enum err recall_explain(struct recaller *r, const struct candidate *c, struct str *out)
{
	struct buf b;
	struct jw w;

	buf_init(&b, r->a, (size_t)1 << 20);
	jw_init(&w, &b);
	if (c->message ? r->ranked.newest_first : r->items_newest) {
		explain_newest(&w);
	} else {
		jw_obj(&w);
		if (c->message)
			explain_message(&w, &r->ranked, c->message);
		else
			items_explain(&w, &c->item->hit, r->item_weights, r->best);
		jw_end_obj(&w);
	}
	*out = buf_slice(&b);
	return b.err == OK ? OK : err_set(E_LIMIT, "the explanation of a hit is too large");
}
