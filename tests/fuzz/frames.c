/* Fuzz target: the body of a checkpoint request. Whatever it is, reading ends in operations or in an error with a sentence; what
 * was read lies where the invariants of frames.c say, and a cursor that is given can be read again. */
#include "api/native/frames.h"
#include "must.h"

/* Bytes of values are the rest of the body, in order. */
struct walk {
	const char *at;
};

static void next(struct walk *w, struct str bytes)
{
	MUST(bytes.p == w->at);
	w->at += bytes.n;
}

static void check_change(const struct ckpt_change *c, struct walk *w)
{
	bool replace = true;

	MUST(c->thread.p && c->id.p && c->ns.p);
	if (c->op == CK_PUT) {
		MUST(c->checkpoint.n >= 2 && c->checkpoint.p[0] == '{' && c->metadata.n >= 2);
		for (size_t i = 0; i < c->values_n; i++) {
			MUST(c->values[i].channel.p && c->values[i].version.p && c->values[i].type.p);
			next(w, c->values[i].bytes);
		}
		return;
	}
	for (size_t i = 0; i < c->writes_n; i++) {
		MUST(c->writes[i].channel.p && c->writes[i].task_id.p && c->writes[i].task_path.p);
		replace = replace && c->writes[i].idx < 0;
		next(w, c->writes[i].bytes);
	}
	MUST(c->replace == replace);
}

static void check_list(struct arena *a, const struct ck_op *op)
{
	struct ckpt_full last = {.c = {.id = op->list.q.after.id, .thread = op->list.q.after.thread, .ns = op->list.q.after.ns}};
	struct str cursor, body;
	struct ck_op *again;
	size_t n;

	MUST(!op->list.q.thread || op->list.q.thread->p);
	if (last.c.id.n == 0)
		return;
	MUST(frames_cursor(a, &last, &cursor) == OK);
	body = arena_printf(a, "....{\"ops\":[{\"op\":\"list\",\"cursor\":\"%.*s\"}]}", STR_ARG(cursor));
	for (int i = 0; i < 4; i++)
		((char *)(uintptr_t)body.p)[i] = (char)((body.n - 4) >> (8 * i));
	MUST(frames_read(a, body, &again, &n) == OK && n == 1);
	MUST(str_eq(again->list.q.after.id, last.c.id) && str_eq(again->list.q.after.thread, last.c.thread) &&
	     str_eq(again->list.q.after.ns, last.c.ns));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str body = str_of((const char *)data, size);
	struct ck_op *ops;
	struct arena a;
	size_t n;

	arena_init(&a, (size_t)64 << 20);
	if (frames_read(&a, body, &ops, &n) == OK) {
		struct walk w = {body.p + 4 + (data[0] | data[1] << 8 | data[2] << 16 | (size_t)data[3] << 24)};

		MUST(n >= 1 && n <= FRAMES_OPS_MAX);
		for (size_t i = 0; i < n; i++) {
			if (ops[i].kind == CKO_PUT || ops[i].kind == CKO_WRITES)
				check_change(&ops[i].change, &w);
			else if (ops[i].kind == CKO_LIST)
				check_list(&a, &ops[i]);
		}
		MUST(w.at == body.p + body.n);
	} else {
		MUST(diag_get()->text[0]);
	}
	arena_release(&a);
	return 0;
}
