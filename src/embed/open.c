/* From settings to an encoder. */
#include "embed/open.h"

#include <stdarg.h>
#include <stdio.h>

#include "embed/cache.h"
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

enum err embed_open(const struct embed_settings *s, struct embed_state *out)
{
	*out = (struct embed_state){.kind = "none"};
	if (s->kind == EMBED_OFF) {
		without(out, "off", "embed.kind is off");
		return OK;
	}
	if (s->kind == EMBED_REMOTE || (s->kind == EMBED_AUTO && s->remote.base_url.n))
		TRY(open_remote(s, out));
	else
		TRY(open_minilm(s, out));
	return out->encoder ? embed_cache_open(out->encoder, s->cache_bytes, &out->encoder) : OK;
}

void embed_state_close(struct embed_state *s)
{
	embed_close(s->encoder);
	s->encoder = NULL;
}
