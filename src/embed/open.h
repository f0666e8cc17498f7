/* Opens the encoder that the settings embed.* name. */
#ifndef CENOTE_EMBED_OPEN_H
#define CENOTE_EMBED_OPEN_H

#include "base/buf.h"
#include "embed/remote.h"

enum embed_kind { EMBED_AUTO, EMBED_MINILM, EMBED_REMOTE, EMBED_OFF };

struct embed_settings {
	enum embed_kind kind;
	struct remote_options remote;
	struct str model_dir; /* where `cenote model` puts models */
	size_t cache_bytes;   /* 0: no cache */
};

/* What came of them. */
struct embed_state {
	struct embedder *encoder; /* NULL: search goes by words alone */
	struct embedder *meter;	  /* the part of it that measures */
	const char *kind;	  /* "minilm", "remote", "off", "none": could be, but there is none */
	bool broken;		  /* none, although model files are there */
	char why[600];		  /* none and off: a sentence that says why, and what would change it */
};

/* auto: the service when remote.base_url is set, else minilm when its files lie in model_dir, else none. Model files that cannot be
 * used are an error with kind minilm; with auto they are told in the state, and search goes by words. E_INVALID: kind remote
 * without base_url or model; E_NOT_FOUND: kind minilm without files. */
enum err embed_open(const struct embed_settings *s, struct embed_state *out) MUST_CHECK;
/* Opens the encoder of a model that was in use before, by the name that it has as an embedder: the model in model_dir when that is
 * it, else a model of that name and so many dimensions at the service. E_NOT_FOUND: neither is there. A service is asked only when
 * it is used. */
enum err embed_open_model(const struct embed_settings *s, struct str model, uint32_t dims, struct embedder **out) MUST_CHECK;
/* Figures in Prometheus text: cenote_embed_*. Nothing without an encoder. */
void embed_metrics(const struct embed_state *s, struct buf *out);
void embed_state_close(struct embed_state *s);

#endif
