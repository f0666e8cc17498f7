/* The compressed form of a value or text: form byte, length as a varint, bytes. Form 0: as is. Form 1: a zstd frame with the
 * dictionary of dict.h. What does not get shorter stays as it is. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "store/pack/dict.h"
#include "store/pack/pack.h"

enum { FORM_RAW = 0, FORM_ZSTD_1 = 1, LEVEL = 3, SHORT = 24 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static ZSTD_CDict *cdict;
static ZSTD_DDict *ddict;

/* Of one thread. */
struct tools {
	ZSTD_CCtx *c;
	ZSTD_DCtx *d;
};

static void tools_free(void *p)
{
	struct tools *t = p;
	ZSTD_freeCCtx(t->c);
	ZSTD_freeDCtx(t->d);
	free(t);
}

static void start(void)
{
	cdict = ZSTD_createCDict(pack_dict_1, sizeof pack_dict_1 - 1, LEVEL);
	ddict = ZSTD_createDDict(pack_dict_1, sizeof pack_dict_1 - 1);
	if (pthread_key_create(&key, tools_free) != 0)
		ZSTD_freeCDict(cdict), cdict = NULL;
}

static struct tools *tools(void)
{
	struct tools *t;
	pthread_once(&once, start);
	if (!cdict || !ddict)
		return NULL;
	t = pthread_getspecific(key);
	if (t)
		return t;
	t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->c = ZSTD_createCCtx();
	t->d = ZSTD_createDCtx();
	if (!t->c || !t->d || ZSTD_isError(ZSTD_CCtx_setParameter(t->c, ZSTD_c_contentSizeFlag, 0)) ||
	    ZSTD_isError(ZSTD_CCtx_refCDict(t->c, cdict)) || ZSTD_isError(ZSTD_DCtx_refDDict(t->d, ddict)) ||
	    pthread_setspecific(key, t) != 0) {
		tools_free(t);
		return NULL;
	}
	return t;
}

static size_t head(char *out, int form, size_t n)
{
	size_t k = 0;
	out[k++] = (char)form;
	for (; n >= 128; n >>= 7)
		out[k++] = (char)(n | 128);
	out[k++] = (char)n;
	return k;
}

enum err pack_squeeze(struct arena *a, struct str raw, struct str *out)
{
	size_t room = 11 + (raw.n < SHORT ? raw.n : ZSTD_compressBound(raw.n)), at, z = 0;
	struct tools *t = raw.n < SHORT ? NULL : tools();
	char *p = arena_alloc(a, room);
	if (!p || (!t && raw.n >= SHORT))
		return E_NOMEM;
	at = head(p, FORM_ZSTD_1, raw.n);
	if (t) {
		z = ZSTD_compress2(t->c, p + at, room - at, raw.p, raw.n);
		if (ZSTD_isError(z))
			return err_set(E_INTERNAL, "zstd: %s", ZSTD_getErrorName(z));
	}
	if (!t || z >= raw.n) {
		at = head(p, FORM_RAW, raw.n);
		if (raw.n > 0)
			memcpy(p + at, raw.p, raw.n);
		z = raw.n;
	}
	*out = str_of(p, at + z);
	return OK;
}

static enum err damaged(void)
{
	return err_set(E_CORRUPT, "a compressed value is damaged");
}

/* Reads the head; *body: what follows it. */
static enum err open_head(struct str s, size_t max, int *form, size_t *n, struct str *body)
{
	const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;
	uint64_t v;
	if (s.n < 2 || (*p != FORM_RAW && *p != FORM_ZSTD_1))
		return damaged();
	p++;
	if (!varint_get(&p, end, &v))
		return damaged();
	if (v > max)
		return err_set(E_CORRUPT, "a compressed value is longer than it can be");
	*form = (unsigned char)s.p[0];
	*n = (size_t)v;
	*body = str_of((const char *)p, (size_t)(end - p));
	return *form == FORM_RAW && body->n != *n ? damaged() : OK;
}

static enum err expand(int form, struct str body, char *p, size_t n)
{
	if (form == FORM_RAW) {
		if (n > 0)
			memcpy(p, body.p, n);
		return OK;
	}
	struct tools *t = tools();
	if (!t)
		return E_NOMEM;
	size_t got = ZSTD_decompressDCtx(t->d, p, n, body.p, body.n);
	return ZSTD_isError(got) || got != n ? damaged() : OK;
}

enum err pack_expand(struct arena *a, struct str squeezed, size_t max, struct str *out)
{
	struct str body = {0};
	size_t n = 0;
	int form = FORM_RAW;
	TRY(open_head(squeezed, max, &form, &n, &body));
	char *p = arena_alloc(a, n + 1);
	if (!p)
		return E_NOMEM;
	*out = str_of(p, n);
	return expand(form, body, p, n);
}

enum err pack_expand_to(struct buf *b, struct str squeezed, size_t max)
{
	struct str body = {0};
	size_t n = 0;
	int form = FORM_RAW;
	TRY(open_head(squeezed, max, &form, &n, &body));
	char *p = buf_room(b, n);
	if (!p)
		return b->err;
	TRY(expand(form, body, p, n));
	buf_added(b, n);
	return OK;
}
