/* One thread: what it says is compared with the texts that are there, and the difference is written.
 *
 * Invariants
 *  1. What the thread looks like is read before what it says. So a change meanwhile leaves a seen that does not fit, and the thread
 * is done again.
 *  2. Ids grow with the position: what comes behind a new text gets a new id too, if it had one. Lists of messages grow at their
 * end, so this is rare.
 *  3. Little is written at a time, so that others' writes do not wait. What is left in the end goes with the seen: mostly one
 *     transaction for a thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "core/checkpoint.h"
#include "core/parse.h"
#include "core/texts_impl.h"
#include "core/vectors.h"
#include "core/words.h"
#include "index/doc.h"

#define ROOM ((size_t)512 << 20)
/* So much in a transaction: a write that comes meanwhile waits for it. */
#define STEP 32
#define STEP_BYTES ((size_t)256 << 10)
#define PAGE 200
#define PAGE_BYTES ((size_t)4 << 20)

struct making {
	struct memory *m;
	struct store *s;
	const struct principal *who;
	const struct turn *turn;
	struct thread_info info;
	enum text_source source;
	struct arena *a; /* of the source's whole work */
	struct arena step;
	/* What is there, by id. */
	struct text_known *known;
	size_t known_n, at;
	bool *used;
	struct map by_mid; /* -> number + 1 */
	bool fresh;	   /* from here on texts are new */
	int64_t pos;
	/* What is to be written next. */
	struct text put[STEP];
	int64_t gone[STEP];
	size_t put_n, gone_n, bytes;
	struct made *made;
};

void texts_look(const struct thread_info *t, char *out)
{
	const int64_t v[] = {t->checkpoints, t->entries, t->updated_us, t->state_us};

	snprintf(out, 24, "%016" PRIx64, hash64(str_of((const char *)v, sizeof v)));
}

/* ------------------------------------------------------------------ writing */

static enum err flush(struct making *x, struct str seen)
{
	struct text_change c = {.thread = x->info.thread,
				.user = x->info.user,
				.source = x->source,
				.gone = x->gone,
				.gone_n = x->gone_n,
				.v = x->put,
				.n = x->put_n,
				.seen = seen};

	if (x->put_n == 0 && x->gone_n == 0 && !seen.p)
		return OK;
	TRY(x->s->ops->texts->put(x->s, x->who, &c));
	for (size_t i = 0; i < x->put_n; i++)
		*(x->put[i].id ? &x->made->changed : &x->made->added) += 1;
	x->made->removed += x->gone_n;
	x->put_n = x->gone_n = x->bytes = 0;
	arena_clear(&x->step);
	return x->turn->fn(x->turn->ctx);
}

static enum err remove_known(struct making *x, size_t k)
{
	x->gone[x->gone_n++] = x->known[k].id;
	return x->gone_n == STEP ? flush(x, (struct str){0}) : OK;
}

struct doc_job {
	struct arena *a;
	const struct lang *lang;
	struct doc_message_in in;
	struct str *terms;
};

static enum err make_doc(void *arg)
{
	const struct doc_job *j = arg;

	return doc_of_message(j->a, j->lang, &j->in, j->terms);
}

static enum err write_text(struct making *x, int64_t id, int64_t ref, int64_t pos, int64_t time_us, uint64_t mark,
			   const struct said *s)
{
	struct text *t = &x->put[x->put_n];
	struct doc_job job = {
		&x->step, words_language(memory_words(x->m), x->info.thread), {s->content, s->name, s->role, time_us}, &t->terms};

	*t = (struct text){.id = id, .ref = ref, .pos = pos, .time_us = time_us, .mark = mark};
	TRY(run_sized(s->content.n, make_doc, &job));
	t->mid = arena_str(&x->step, s->mid);
	t->role = arena_str(&x->step, s->role);
	t->name = arena_str(&x->step, s->name);
	t->content = arena_str(&x->step, s->content);
	if (!t->mid.p || !t->role.p || !t->name.p || !t->content.p)
		return E_NOMEM;
	x->put_n++;
	x->bytes += s->content.n + t->terms.n;
	return x->put_n == STEP || x->bytes >= STEP_BYTES ? flush(x, (struct str){0}) : OK;
}

static uint64_t mark_of(const struct said *s)
{
	const uint64_t h[] = {hash64(s->role), hash64(s->name), hash64(s->content)};

	return hash64(str_of((const char *)h, sizeof h));
}

/* ---------------------------------------------------------------- comparing */

static enum err known_begin(struct making *x, enum text_source source)
{
	TRY(flush(x, (struct str){0}));
	x->source = source;
	x->fresh = false;
	x->at = 0;
	x->pos = 0;
	TRY(x->s->ops->texts->known(x->s, x->a, x->who, x->info.thread, source, &x->known, &x->known_n));
	x->used = arena_zalloc(x->a, x->known_n + 1);
	if (!x->used)
		return E_NOMEM;
	x->used[x->known_n] = true; /* stands for what is new: it comes once */
	map_init(&x->by_mid);
	for (size_t i = 0; i < x->known_n; i++) {
		TRY(map_put(&x->by_mid, x->known[i].mid, (void *)(uintptr_t)(i + 1), NULL));
		x->pos = x->known[i].pos >= x->pos ? x->known[i].pos + 1 : x->pos;
	}
	return OK;
}

/* The next text that the source has. */
static enum err next(struct making *x, const struct said *s, int64_t ref, int64_t time_us)
{
	size_t k = (size_t)(uintptr_t)map_get(&x->by_mid, s->mid);
	uint64_t mark = mark_of(s);

	if (k && x->used[k - 1])
		return OK; /* the same id once more */
	if (k)
		x->used[k - 1] = true;
	if (k && !x->fresh && k > x->at) {
		x->at = k;
		if (x->known[k - 1].mark == mark)
			return OK;
		return write_text(x, x->known[k - 1].id, ref, x->known[k - 1].pos, time_us, mark, s);
	}
	if (k) {
		x->fresh = true;
		TRY(remove_known(x, k - 1));
	} else {
		/* Behind everything that is kept, or everything after it moves. */
		x->fresh = true;
		TRY(map_put(&x->by_mid, s->mid, (void *)(uintptr_t)(x->known_n + 1), NULL));
	}
	return write_text(x, 0, ref, x->pos++, time_us, mark, s);
}

static enum err known_end(struct making *x)
{
	for (size_t i = 0; i < x->known_n; i++)
		if (!x->used[i])
			TRY(remove_known(x, i));
	return OK;
}

/* ------------------------------------------------------------------ entries */

struct page {
	struct arena a;
	struct session_entry *v;
	size_t n, bytes;
	enum err err;
};

static bool on_entry(void *ctx, const struct session_entry *e)
{
	struct page *p = ctx;

	p->v[p->n] = *e;
	p->v[p->n].data = e->unreadable ? STR("") : arena_str(&p->a, e->data);
	p->bytes += e->data.n;
	if (!p->v[p->n].data.p)
		p->err = E_NOMEM;
	p->n++;
	return p->err == OK && p->bytes < PAGE_BYTES;
}

struct entry_state {
	int64_t n, last; /* that have been read, and the last one's id */
};

static enum err take_page(struct making *x, struct page *p, struct entry_state *es)
{
	for (size_t i = 0; i < p->n; i++) {
		struct said s;

		es->n++;
		es->last = p->v[i].id;
		if (p->v[i].data.n == 0)
			continue;
		TRY(said_by_entry(&p->a, p->v[i].data, &s));
		if (s.content.n == 0)
			continue;
		s.mid = arena_printf(x->a, "%" PRId64, p->v[i].id);
		if (!s.mid.p)
			return E_NOMEM;
		TRY(next(x, &s, p->v[i].id, p->v[i].created_us));
	}
	return OK;
}

/* From es->last on. */
static enum err read_entries(struct making *x, struct entry_state *es)
{
	struct page p = {.n = PAGE};
	enum err e = OK;

	arena_init(&p.a, ROOM);
	for (size_t want = PAGE; e == OK;) {
		struct entry_list q = {.thread = x->info.thread, .after = es->last, .limit = want};

		arena_clear(&p.a);
		p.n = p.bytes = 0;
		p.v = ARENA_ARRAY(&p.a, struct session_entry, want);
		if (!p.v) {
			e = E_NOMEM;
			break;
		}
		e = x->s->ops->threads->entries(x->s, x->who, &q, on_entry, &p);
		if (e == OK)
			e = p.err;
		if (e == OK)
			e = take_page(x, &p, es);
		if (p.n < want && p.bytes < PAGE_BYTES)
			break;
	}
	arena_release(&p.a);
	return e;
}

/* Entries do not change: those behind the last one are new, as long as the number says that none went or came between. */
static enum err more_entries(struct making *x, struct entry_state *es, bool *good)
{
	struct entry_state now = *es;
	enum err e;

	*good = false;
	for (size_t i = 0; i < x->known_n; i++)
		x->used[i] = true;
	x->fresh = true;
	e = read_entries(x, &now);
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	*good = now.n == x->info.entries;
	if (*good)
		*es = now;
	return OK;
}

static enum err all_entries(struct making *x, struct entry_state *es)
{
	enum err e;

	*es = (struct entry_state){0};
	e = read_entries(x, es);
	if (e == E_NOT_FOUND)
		e = OK;
	TRY(e);
	return known_end(x);
}

static enum err do_entries(struct making *x, struct entry_state *es)
{
	bool good = false;
	enum err e = known_begin(x, TEXT_ENTRY);

	if (e == OK && es->last && x->info.entries > es->n)
		e = more_entries(x, es, &good);
	map_release(&x->by_mid);
	if (e == OK && !good) {
		e = known_begin(x, TEXT_ENTRY);
		if (e == OK && (x->info.entries > 0 || x->known_n > 0))
			e = all_entries(x, es);
		map_release(&x->by_mid);
	}
	return e;
}

/* -------------------------------------------------------------- checkpoints */

struct decode_job {
	struct arena *a;
	const struct ckpt *c;
	struct said_list list;
};

static bool is_inner(struct str channel)
{
	return str_starts(channel, STR("__")) || str_starts(channel, STR("branch:"));
}

static enum err decode_inline(struct decode_job *j)
{
	const struct json_limits lim = {.depth = 128, .nodes = 4000000, .bytes = CKPT_JSON_MAX, .flags = JSON_DUP_OK};
	struct jval key, v, values;
	struct json doc;

	if (json_parse(j->a, j->c->checkpoint, &lim, &doc) != OK) {
		diag_clear();
		return OK;
	}
	values = j_get(json_root(&doc), STR("channel_values"));
	for (struct j_iter it = j_iter(values); j_is(values, JSON_OBJECT) && j_next(&it, &key, &v);) {
		struct str channel = j_str(j->a, key);

		if (channel.p && !is_inner(channel) && j_is(v, JSON_ARRAY))
			TRY(said_by_json(j->a, j_raw(v), &j->list));
	}
	return OK;
}

static enum err decode(void *arg)
{
	struct decode_job *j = arg;

	TRY(decode_inline(j));
	for (size_t i = 0; i < j->c->values_n; i++)
		if (!is_inner(j->c->values[i].channel))
			TRY(said_by_value(j->a, j->c->values[i].type, j->c->values[i].bytes, &j->list));
	return OK;
}

static enum err read_head(struct making *x, unsigned want, struct ckpt *c, bool *found)
{
	struct ckpt_query q = {.thread = x->info.thread, .ns = STR(""), .id = STR(""), .want = want};

	return x->s->ops->checkpoints->get(x->s, x->a, x->who, &q, c, found);
}

static uint64_t look_of(const struct ckpt *c, bool found)
{
	return found ? hash64(c->id) ^ hash64(c->checkpoint) * 31 : 1;
}

static enum err do_checkpoints(struct making *x, uint64_t *look)
{
	struct ckpt c = {0};
	struct decode_job job = {.a = x->a, .c = &c};
	size_t bytes = 0;
	bool found = false;
	enum err e;

	if (x->info.checkpoints > 0)
		TRY(read_head(x, 0, &c, &found));
	if (look_of(&c, found) == *look)
		return OK;
	if (found)
		TRY(read_head(x, CK_VALUES, &c, &found));
	*look = look_of(&c, found);
	for (size_t i = 0; i < c.values_n; i++)
		bytes += c.values[i].bytes.n;
	if (found)
		TRY(run_sized(bytes, decode, &job));
	e = known_begin(x, TEXT_CHECKPOINT);
	for (size_t i = 0; i < job.list.n && e == OK; i++)
		e = next(x, &job.list.v[i], 0, ckpt_id_time(c.id));
	if (e == OK)
		e = known_end(x);
	map_release(&x->by_mid);
	return e;
}

/* ------------------------------------------------------------------- thread */

struct seen {
	char look[24];
	struct entry_state entries;
	uint64_t checkpoints;
};

/* A number in hexadecimal up to a blank or the end. */
static bool number(struct str *s, uint64_t *out)
{
	size_t n = 0;

	*out = 0;
	for (; n < s->n && s->p[n] != ' '; n++) {
		char c = s->p[n];
		int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (d < 0 || n == 16)
			return false;
		*out = *out << 4 | (uint64_t)d;
	}
	*s = str_sub(*s, n < s->n ? n + 1 : n, s->n);
	return n > 0;
}

/* What cannot be read is as if nothing had been seen. */
static void parse_seen(struct str s, struct seen *out)
{
	uint64_t look, n, last, checkpoints;

	*out = (struct seen){0};
	if (!number(&s, &look) || !number(&s, &n) || !number(&s, &last) || !number(&s, &checkpoints))
		return;
	snprintf(out->look, sizeof out->look, "%016" PRIx64, look);
	out->entries = (struct entry_state){(int64_t)n, (int64_t)last};
	out->checkpoints = checkpoints;
}

static enum err make(struct making *x, struct arena *a)
{
	struct seen seen;
	struct str text;
	char look[24];

	TRY(x->s->ops->texts->seen(x->s, a, x->who, x->info.thread, &text));
	parse_seen(text, &seen);
	texts_look(&x->info, look);
	if (strcmp(look, seen.look) == 0)
		return OK;
	TRY(do_entries(x, &seen.entries));
	arena_clear(x->a);
	TRY(do_checkpoints(x, &seen.checkpoints));
	text = arena_printf(a, "%s %" PRIx64 " %" PRIx64 " %" PRIx64, look, (uint64_t)seen.entries.n, (uint64_t)seen.entries.last,
			    seen.checkpoints);
	return text.p ? flush(x, text) : E_NOMEM;
}

enum err texts_make(struct memory *m, const struct principal *who, struct str thread, const struct turn *turn, struct made *made,
		    bool *again)
{
	struct store *s = memory_store(m);
	struct making *x = calloc(1, sizeof *x);
	struct arena a, work;
	bool found;
	enum err e;

	*made = (struct made){0};
	*again = false;
	if (!x)
		return err_set(E_LIMIT, "out of memory");
	arena_init(&a, 8u << 20);
	arena_init(&work, ROOM);
	*x = (struct making){.m = m, .s = s, .who = who, .turn = turn, .a = &work, .made = made};
	arena_init(&x->step, ROOM);
	CHECK(s->ops->threads->get(s, &a, who, thread, &x->info, &found));
	e = found ? make(x, &a) : s->ops->texts->drop(s, who, thread, true);
	if (e == E_CONFLICT) { /* it went, or became somebody else's */
		*again = true;
		e = s->ops->texts->drop(s, who, thread, true);
	}
	if (made->added + made->changed + made->removed)
		vectors_wake(memory_vectors(m), who->tenant);
out:
	arena_release(&x->step);
	arena_release(&work);
	arena_release(&a);
	free(x);
	return e;
}
