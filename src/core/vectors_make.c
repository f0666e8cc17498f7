/* Makes vectors of documents: reads their texts, has them encoded, keeps what came.
 *
 * An encoder takes a call as a whole or not at all. When it refuses one (E_INVALID), or gives something that is no vector
 * (E_CORRUPT), the call is cut into halves until the culprits stand alone; a long text that is refused alone is tried again
 * shortened, since services refuse what exceeds their model's window. */
#include "core/vectors_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "core/words.h"
#include "index/vector.h"

/* So many are read at a time, fewer where they do not fit READ_ROOM together. */
#define READ_STEP 32
#define ENCODE_ROOM ((size_t)256 << 20)
/* A text that is refused is cut in half until it is shorter than this. */
#define SHORTEN_TO 2048
/* So often a text is tried that gives no vector, while others do. */
#define ODD_TRIES 6
#define ODD_MOST 4
#define ODD_PAUSE_MS 200
/* Vectors of a transaction. Whoever writes meanwhile waits for it to end: so it is to be over in about a millisecond. */
#define PUT_STEP 64

struct maker {
	struct vectors *v;
	struct vtenant *t;
	enum doc_kind kind;
	struct arena *a;
	/* The texts that are there, and of which document they are; vector .p NULL: none was made. */
	struct str *texts, *vectors;
	struct todo **of;
	size_t n, good;
	size_t odd, odd_most; /* texts for which the encoder gave, alone, what is no vector; so many are tried while none is good */
	struct diag odd_diag;
};

/* ----------------------------------------------------------------- reading */

static enum err add_text(struct maker *m, struct todo *todo, struct str text)
{
	m->texts[m->n] = arena_str(m->a, text);
	m->of[m->n] = todo;
	return m->texts[m->n++].p ? OK : E_NOMEM;
}

/* Is the value another than the mark is of? It has been written since; the feed brings it with its own. A vector of it must not be
 * kept under this mark: the old value may come back. */
static enum err has_changed(struct maker *m, struct arena *a, const struct item *it, const struct todo *todo, bool *is)
{
	struct str *paths = NULL, terms;
	struct doc_reader r;
	struct doc_head h;
	size_t n = 0;

	*is = false;
	if (todo->version == 0 || it->version == todo->version || todo->lang != words_language(m->v->words, it->ns))
		return OK;
	if (todo->doc_n && doc_open(str_of(todo->doc, todo->doc_n), &r, &h) == DOC_GOOD)
		TRY(doc_paths(&r, a, &paths, &n));
	TRY(words_stored_doc(m->v->words, a, it->ns, it->value, n ? paths : NULL, n, &terms));
	*is = doc_mark(terms) != todo->mark;
	return OK;
}

static enum err read_items(struct maker *m, struct arena *a, struct todo *todo, const int64_t *ids, size_t n)
{
	struct store *s = m->v->store;
	struct item *items = ARENA_ARRAY(a, struct item, n);
	struct str text;
	bool changed;

	if (!items)
		return E_NOMEM;
	TRY(s->ops->item_by_id(s, a, &m->t->who, ids, n, items));
	for (size_t i = 0; i < n; i++) {
		if (items[i].id == 0 || todo[i].taken || todo[i].none)
			continue; /* gone in the meantime, or not needed */
		TRY(has_changed(m, a, &items[i], &todo[i], &changed));
		if (changed)
			continue;
		TRY(vectors_item_text(a, items[i].value, str_of(todo[i].doc, todo[i].doc_n), &text));
		TRY(add_text(m, &todo[i], text));
	}
	return OK;
}

static enum err read_messages(struct maker *m, struct arena *a, struct todo *todo, const int64_t *ids, size_t n)
{
	struct store *s = m->v->store;
	struct message *msgs = ARENA_ARRAY(a, struct message, n);

	if (!msgs)
		return E_NOMEM;
	TRY(s->ops->message_by_id(s, a, &m->t->who, ids, n, msgs));
	for (size_t i = 0; i < n; i++)
		if (msgs[i].id)
			TRY(add_text(m, &todo[i], vectors_message_text(msgs[i].content)));
	return OK;
}

bool vectors_unreadable(enum err e)
{
	enum err_kind kind = diag_get()->kind;

	return e == E_INVALID || e == E_CORRUPT || (e == E_LIMIT && kind != ERR_RATE && kind != ERR_QUOTA);
}

enum err vectors_leave_out(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct todo *todo)
{
	todo->none = true;
	atomic_fetch_add(&v->refused, 1);
	LOG(LOG_WARN, "core.vectors", "a text cannot be read: it gets no vector before it changes", LF_C("tenant", t->name),
	    LF_INT("id", todo->id), LF_C("reason", diag_get()->text));
	return marks_put(&t->kind[kind].refused, todo->id, todo->mark);
}

/* At most READ_STEP. Depth: log2 of that. */
static enum err read_range(struct maker *m, struct arena *a, struct todo *todo, size_t n)
{
	size_t before = m->n;
	int64_t ids[READ_STEP];
	enum err e;

	arena_clear(a);
	for (size_t i = 0; i < n; i++)
		ids[i] = todo[i].id;
	e = m->kind == DOC_ITEM ? read_items(m, a, todo, ids, n) : read_messages(m, a, todo, ids, n);
	if (e == OK || !vectors_unreadable(e))
		return e;
	m->n = before;
	if (n == 1)
		return vectors_leave_out(m->v, m->t, m->kind, todo);
	TRY(read_range(m, a, todo, n / 2));
	return read_range(m, a, todo + n / 2, n - n / 2);
}

static enum err read_texts(struct maker *m, struct todo *todo, size_t n)
{
	struct arena a;
	enum err e = OK;

	arena_init(&a, m->v->read_room);
	for (size_t at = 0; at < n && e == OK; at += READ_STEP)
		e = read_range(m, &a, todo + at, n - at < READ_STEP ? n - at : READ_STEP);
	arena_release(&a);
	return e;
}

/* ---------------------------------------------------------------- encoding */

static enum err encode_some(struct maker *m, size_t from, size_t n)
{
	struct embed_vectors got = {0};
	struct arena a;
	uint64_t before;
	enum err e;

	arena_init(&a, ENCODE_ROOM);
	before = clock_mono_ns();
	CHECK(embed_encode(m->v->embedder, &a, m->texts + from, n, &got));
	vectors_answered(m->v, clock_mono_ns() - before);
	for (size_t i = 0; i < n; i++) {
		e = vector_pack(m->a, got.v + i * got.dims, got.dims, &m->vectors[from + i]);
		if (e == E_INVALID) /* without direction: this text has no vector */
			e = n == 1 ? E_CORRUPT : OK;
		if (e != OK)
			goto out;
		m->good += m->vectors[from + i].p != NULL;
	}
out:
	arena_release(&a);
	return e;
}

static enum err encode_one(struct maker *m, size_t i)
{
	struct str whole = m->texts[i];
	enum err e;

	while ((e = encode_some(m, i, 1)) == E_INVALID && m->texts[i].n > SHORTEN_TO)
		m->texts[i] = utf8_cut(whole, m->texts[i].n / 2);
	if (e != E_INVALID && e != E_CORRUPT)
		return e;
	if (e == E_CORRUPT) {
		m->odd_diag = *diag_get();
		m->of[i]->again = true;
		/* Nothing but nonsense so far: the encoder is out of order, rather than all of the texts. The longer that lasts,
		 * the more of them are looked at, so that some bad ones in front do not hold up the good. */
		if (++m->odd >= m->odd_most && m->good == 0)
			return E_CORRUPT;
	}
	return OK;
}

/* Depth: log2 of the texts of a call. */
static enum err encode_range(struct maker *m, size_t from, size_t n)
{
	enum err e;

	if (n == 0)
		return OK;
	if (n == 1)
		return encode_one(m, from);
	e = encode_some(m, from, n);
	if (e != E_INVALID && e != E_CORRUPT)
		return e;
	TRY(encode_range(m, from, n / 2));
	return encode_range(m, from + n / 2, n - n / 2);
}

/* ----------------------------------------------------------------- keeping */

/* How often the text has given no vector so far. */
static uint64_t odd_so_far(const struct kind_state *k, const struct todo *x)
{
	uint64_t tries = ODD_TRIES;

	while (tries > 0 && !marks_has(&k->odd, x->id, x->mark + tries))
		tries--;
	return tries;
}

/* Is the text to be tried another time? A service may fail for once; a text that gives no vector again and again is at fault
 * itself. */
static enum err count_odd(struct kind_state *k, struct todo *x)
{
	uint64_t tries = odd_so_far(k, x) + 1;

	x->again = tries < ODD_TRIES;
	if (x->again)
		return marks_put(&k->odd, x->id, x->mark + tries);
	marks_remove(&k->odd, x->id);
	return OK;
}

/* Texts that got no vector are not asked for again before they change. */
static enum err refuse(struct maker *m)
{
	struct kind_state *k = &m->t->kind[m->kind];
	size_t before = k->refused.n;

	for (size_t i = 0; i < m->n; i++) {
		struct todo *x = m->of[i];

		if (x->again)
			TRY(count_odd(k, x));
		if (!m->vectors[i].p && !x->again)
			TRY(marks_put(&k->refused, x->id, x->mark));
	}
	if (k->refused.n <= before)
		return OK;
	atomic_fetch_add(&m->v->refused, k->refused.n - before);
	LOG(LOG_WARN, "core.vectors", "the encoder refuses texts; they are found by words", LF_C("tenant", m->t->name),
	    LF_INT("texts", (int64_t)(k->refused.n - before)), LF_C("reason", diag_get()->text));
	return OK;
}

/* Nothing but nonsense came. Texts that gave nothing else while others were well are at fault themselves; but there is a pause
 * before they are tried again. Otherwise the encoder is out of order. */
static enum err only_odd(struct maker *m)
{
	const struct kind_state *k = &m->t->kind[m->kind];
	bool known = true;

	for (size_t i = 0; i < m->n; i++)
		known = known && (!m->of[i]->again || odd_so_far(k, m->of[i]) > 0);
	*diag_get() = m->odd_diag;
	if (!known)
		return E_CORRUPT;
	trouble_note(m->v, &m->v->work, E_CORRUPT, ODD_PAUSE_MS, ODD_PAUSE_MS);
	return OK;
}

static enum err keep(struct maker *m)
{
	struct doc_vector *out = ARENA_ARRAY(m->a, struct doc_vector, m->n + 1);
	struct kind_state *k = &m->t->kind[m->kind];
	struct store *s = m->v->store;
	char model[MODEL_ROOM];
	size_t n = 0;

	if (!out)
		return E_NOMEM;
	for (size_t i = 0; i < m->n; i++)
		if (m->vectors[i].p) {
			marks_remove(&k->refused, m->of[i]->id);
			marks_remove(&k->odd, m->of[i]->id);
			out[n++] = (struct doc_vector){m->of[i]->id, m->of[i]->mark, m->vectors[i], m->of[i]->stamp};
		}
	if (n == 0)
		return OK;
	vectors_key(m->v, model);
	for (size_t at = 0, step; at < n; at += step) {
		step = n - at < PUT_STEP ? n - at : PUT_STEP;
		TRY(s->ops->vector_put(s, &m->t->who, m->kind, str_c(model), out + at, step));
		atomic_fetch_add(&m->v->made, step);
	}
	return OK;
}

enum err vectors_make(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct todo *todo, size_t n)
{
	struct maker m = {.v = v, .t = t, .kind = kind};
	struct arena a;
	enum err e;

	pthread_mutex_lock(&v->lock);
	m.odd_most = (size_t)ODD_MOST << (v->work.failures < 10 ? v->work.failures : 10);
	pthread_mutex_unlock(&v->lock);
	m.a = &a;
	arena_init(&a, ENCODE_ROOM);
	m.texts = ARENA_ARRAY(&a, struct str, n + 1);
	m.vectors = arena_zalloc(&a, (n + 1) * sizeof *m.vectors);
	m.of = ARENA_ARRAY(&a, struct todo *, n + 1);
	if (!m.texts || !m.vectors || !m.of) {
		e = E_NOMEM;
		goto out;
	}
	for (size_t i = 0; i < n; i++)
		todo[i].again = todo[i].none = false;
	if (kind == DOC_ITEM) {
		CHECK(vectors_make_docs(v, t, todo, n));
		CHECK(vectors_foreign_take(v, t, todo, n));
	}
	CHECK(read_texts(&m, todo, n));
	v->no_encoder = true;
	CHECK(encode_range(&m, 0, m.n));
	if (m.good == 0 && m.odd > 0)
		CHECK(only_odd(&m));
	v->no_encoder = false;
	CHECK(keep(&m));
	e = refuse(&m);
out:
	arena_release(&a);
	return e;
}
