/* The messages of a tenant: thread by thread in the order of their names, some hundred in one append, which may go to several
 * threads. The target knows by (thread, id) what it has already. */
#include <stdlib.h>

#include "core/copy_impl.h"

#define BATCH_BYTES ((size_t)4 << 20)

struct messages {
	struct copy *c;
	struct message *m; /* of the batch; texts in c->page */
	size_t n, bytes;
	int64_t from; /* of the thread under way */
	enum err err;
};

/* ---------------------------------------------------------------- writing */

static enum err documents(struct copy *c, struct message *m, size_t n)
{
	struct words *words = memory_words(c->memory);

	for (size_t i = 0; i < n; i++) {
		struct doc_message_in in = {m[i].content, m[i].name, m[i].role, m[i].time_us};

		if (m[i].terms.n == 0)
			TRY(doc_of_message(&c->work, words_language(words, m[i].thread), &in, &m[i].terms));
	}
	return OK;
}

static enum err append_range(struct copy *c, struct message *m, size_t n)
{
	enum err e;

	if (n == 0)
		return OK;
	e = c->to->ops->message_append(c->to, &c->who, m, n);
	if (e == OK) {
		for (size_t i = 0; i < n; i++)
			c->r->messages_copied += m[i].stored;
		return OK;
	}
	if (!copy_is_local(e) && e != E_CONFLICT)
		return err_wrap(e, "writing to the target");
	if (n == 1)
		return copy_fail(c, COPY_MESSAGE, m->thread, m->mid);
	TRY(append_range(c, m, n / 2));
	return append_range(c, m + n / 2, n - n / 2);
}

static enum err flush(struct messages *x)
{
	struct copy *c = x->c;

	if (x->n && !c->opt->dry_run) {
		TRY(documents(c, x->m, x->n));
		TRY(append_range(c, x->m, x->n));
	}
	if (x->n) {
		const struct message *last = &x->m[x->n - 1];

		memcpy(c->at.thread, last->thread.p, last->thread.n);
		c->at.thread_n = last->thread.n;
		c->at.pos = last->pos + 1;
	}
	c->r->messages_copied += c->opt->dry_run ? (int64_t)x->n : 0;
	x->n = x->bytes = 0;
	arena_clear(&c->page);
	arena_clear(&c->work);
	return copy_pause(c, false);
}

/* ---------------------------------------------------------------- reading */

static bool on_message(void *ctx, const struct message *in)
{
	struct messages *x = ctx;
	struct message *m = &x->m[x->n];
	struct str *const all[] = {&m->thread, &m->mid, &m->user, &m->role, &m->name, &m->content, &m->metadata, &m->terms};

	*m = *in;
	if (m->thread.n > THREAD_MAX_BYTES) {
		x->err = err_set(E_LIMIT, "a thread's name has more than %d bytes", THREAD_MAX_BYTES);
		return false;
	}
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		*all[i] = arena_str(&x->c->page, *all[i]);
		if (!all[i]->p)
			x->err = E_NOMEM;
	}
	x->bytes += m->content.n + m->metadata.n + 128;
	x->from = m->pos + 1;
	x->n++;
	x->c->r->messages++;
	x->c->done++;
	return x->err == OK && x->n < COPY_PAGE && x->bytes < BATCH_BYTES;
}

/* The rest of a thread from x->from on. */
static enum err one_thread(struct messages *x, struct str thread)
{
	struct copy *c = x->c;

	for (;;) {
		size_t room = COPY_PAGE - x->n;
		enum err e = c->from->ops->message_list(c->from, &c->who, thread, x->from, room, on_message, x);

		if (e == E_NOT_FOUND) /* deleted meanwhile */
			return OK;
		TRY(e);
		TRY(x->err);
		if (x->n < COPY_PAGE && x->bytes < BATCH_BYTES)
			return OK;
		TRY(flush(x));
	}
}

struct name {
	char p[THREAD_MAX_BYTES * 4];
	size_t n;
	bool found;
};

static bool next_thread(void *ctx, const struct thread_info *t)
{
	struct name *name = ctx;

	if (t->thread.n > sizeof name->p)
		return true; /* cannot be: the port's users limit it */
	memcpy(name->p, t->thread.p, t->thread.n);
	name->n = t->thread.n;
	name->found = true;
	return false;
}

static enum err run(struct messages *x)
{
	struct copy *c = x->c;
	struct name at = {.n = c->at.thread_n};

	memcpy(at.p, c->at.thread, at.n);
	x->from = c->at.pos;
	if (at.n)
		TRY(one_thread(x, str_of(at.p, at.n)));
	for (;;) {
		struct str after = str_of(at.p, at.n);

		at.found = false;
		TRY(c->from->ops->thread_list(c->from, &c->who, NULL, after, 1, next_thread, &at));
		if (!at.found)
			return flush(x);
		x->from = 0;
		TRY(one_thread(x, str_of(at.p, at.n)));
	}
}

enum err copy_messages(struct copy *c)
{
	struct messages x = {.c = c};
	enum err e;

	arena_clear(&c->page);
	x.m = calloc(COPY_PAGE, sizeof *x.m);
	e = x.m ? run(&x) : err_set(E_LIMIT, "out of memory");
	free(x.m);
	return e;
}
