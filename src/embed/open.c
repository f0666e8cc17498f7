/* From settings to an encoder. */
#include "embed/open.h"

#include <stdarg.h>
#include <stdio.h>

#include "embed/cache.h"
#include "embed/meter.h"
#include "embed/minilm/minilm.h"
#include "embed/models.h"

static void without(struct embed_state *out, const char *kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void without(struct embed_state *out, const char *kind, const char *fmt, ...)
{
	va_list ap;

	out->kind = kind;
	va_start(ap, fmt);
	vsnprintf(out->why, sizeof out->why, fmt, ap);
	va_end(ap);
}

static enum err open_remote(const struct embed_settings *s, struct embed_state *out)
{
	if (s->remote.base_url.n == 0)
		return err_set(E_INVALID, "embed.kind is remote, which needs embed.base_url");
	out->kind = "remote";
	return remote_open(&s->remote, &out->encoder);
}

static enum err open_minilm(const struct embed_settings *s, struct embed_state *out)
{
	const struct embed_model *m = embed_model_find(STR("minilm"));
	bool must = s->kind == EMBED_MINILM;
	struct arena a;
	struct str path;
	enum err e;

	arena_init(&a, 64 << 10);
	path = embed_model_path(&a, s->model_dir, m);
	if (!path.p) {
		if (must)
			e = err_set(E_NOT_FOUND,
				    "embed.kind is minilm, and the model is not in \"%.*s\"; `cenote model add minilm` gets it, "
				    "embed.model_dir says where it lies",
				    STR_ARG(s->model_dir));
		else
			e = OK;
		without(out, "none",
			"there is no model in \"%.*s\" (`cenote model add minilm` gets one) and embed.base_url names no service",
			STR_ARG(s->model_dir));
	} else {
		e = minilm_open(path, &out->encoder);
		out->kind = "minilm";
		if (e != OK && must) {
			(void)err_wrap(e, "the model in \"%.*s\"", STR_ARG(path));
		} else if (e != OK) {
			out->broken = true;
			without(out, "none", "the model in \"%.*s\" cannot be used: %s; `cenote model add minilm` gets a good one",
				STR_ARG(path), diag_get()->text);
			e = OK;
		}
	}
	arena_release(&a);
	return e;
}

static enum err open_all(const struct embed_settings *s, struct embed_state *out)
{
	if (s->kind == EMBED_REMOTE || (s->kind == EMBED_AUTO && s->remote.base_url.n))
		TRY(open_remote(s, out));
	else
		TRY(open_minilm(s, out));
	if (!out->encoder)
		return OK;
	TRY(embed_meter_open(out->encoder, out->kind, &out->meter));
	return embed_cache_open(out->meter, s->cache_bytes, &out->encoder);
}

enum err embed_open(const struct embed_settings *s, struct embed_state *out)
{
	enum err e;

	*out = (struct embed_state){.kind = "none"};
	if (s->kind == EMBED_OFF) {
		without(out, "off", "embed.kind is off");
		return OK;
	}
	e = open_all(s, out);
	if (e != OK) /* who failed has closed what it was given */
		out->encoder = out->meter = NULL;
	return e;
}

/* *out NULL: the folder has none, or another. */
static enum err open_if_it_is(const struct embed_settings *s, struct str model, struct embedder **out)
{
	struct arena a;
	struct str path;
	enum err e = OK;

	*out = NULL;
	arena_init(&a, 64 << 10);
	path = embed_model_path(&a, s->model_dir, embed_model_find(STR("minilm")));
	if (path.p)
		e = minilm_open(path, out);
	if (e != OK) {
		*out = NULL;
	} else if (*out && !str_eq((*out)->model, model)) {
		embed_close(*out);
		*out = NULL;
	}
	arena_release(&a);
	return e;
}

enum err embed_open_model(const struct embed_settings *s, struct str model, uint32_t dims, struct embedder **out)
{
	struct remote_options ro = s->remote;
	struct embedder *e = NULL;

	*out = NULL;
	TRY(open_if_it_is(s, model, &e));
	if (!e) {
		if (ro.base_url.n == 0)
			return err_set(E_NOT_FOUND, "there is no model \"%.*s\" here, and embed.base_url names no service",
				       STR_ARG(model));
		ro.model = model;
		ro.dims = dims;
		TRY(remote_open(&ro, &e));
	}
	return embed_cache_open(e, s->cache_bytes, out);
}

void embed_metrics(const struct embed_state *s, struct buf *out)
{
	struct embed_cache_stats c;

	if (!s->encoder)
		return;
	embed_meter_write(s->meter, out);
	if (!embed_cache_stats(s->encoder, &c))
		return;
	buf_printf(out,
		   "# HELP cenote_embed_cache_total Texts looked up in the cache of vectors.\n# TYPE cenote_embed_cache_total "
		   "counter\n"
		   "cenote_embed_cache_total{result=\"hit\"} %llu\ncenote_embed_cache_total{result=\"miss\"} %llu\n"
		   "cenote_embed_cache_total{result=\"shared\"} %llu\n",
		   (unsigned long long)c.hits, (unsigned long long)c.misses, (unsigned long long)c.shared);
	buf_printf(out,
		   "# HELP cenote_embed_cache_bytes Memory of the cache of vectors.\n# TYPE cenote_embed_cache_bytes gauge\n"
		   "cenote_embed_cache_bytes %zu\n",
		   c.bytes);
}

void embed_state_close(struct embed_state *s)
{
	embed_close(s->encoder);
	s->encoder = NULL;
}
