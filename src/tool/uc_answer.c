/* What a function has answered, as text for the model: one value as it is, a table as a list of objects, a row a line. */
#include "tool/uc_impl.h"

enum { NOTE_MAX = 80, ROW_MAX = 4 << 20 };

static const struct json_limits limits = {.depth = 32, .nodes = 100000, .bytes = ROW_MAX, .flags = JSON_DUP_OK};

void uc_answer_init(struct uc_answer *x, const struct uc_function *f, struct arena *a, size_t most)
{
	*x = (struct uc_answer){.f = f, .a = a, .most = most};
	buf_init(&x->out, a, WORKSPACE_ANSWER_MAX);
}

static bool one_of(struct str type, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_ieq(type, str_c(names[i])))
			return true;
	return false;
}

/* All values come as text; those of some types are JSON in it. */
static bool is_json(struct arena *a, struct str type, struct str text)
{
	static const char *const numbers[] = {"BYTE", "SHORT", "INT", "LONG", "FLOAT", "DOUBLE", "DECIMAL"}, *const composed[] = {
														     "ARRAY", "MAP",
														     "STRUCT",
														     "VARIANT"};
	bool number = one_of(type, numbers, sizeof numbers / sizeof numbers[0]);
	struct json doc;

	if (str_ieq(type, STR("BOOLEAN")))
		return str_eq(text, STR("true")) || str_eq(text, STR("false"));
	if (!number && !one_of(type, composed, sizeof composed / sizeof composed[0]))
		return false;
	return json_parse(a, text, &limits, &doc) == OK && (!number || j_is(json_root(&doc), JSON_NUMBER));
}

static enum err put_cell(struct arena *a, struct jw *w, struct str type, struct jval cell)
{
	struct str text;

	if (!j_is(cell, JSON_STRING)) {
		jw_raw(w, j_raw(cell));
		return OK;
	}
	text = j_str(a, cell);
	if (!text.p)
		return E_NOMEM;
	if (is_json(a, type, text))
		jw_raw(w, str_trim(text));
	else
		jw_str(w, text);
	return OK;
}

static enum err put_row(struct uc_answer *x, const struct sql_table *t, struct jval row, struct str *out)
{
	struct j_iter it = j_iter(row);
	struct jval cell;
	struct buf b;
	struct jw w;

	buf_init(&b, x->a, ROW_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	for (size_t i = 0; i < t->columns_n && j_next(&it, NULL, &cell); i++) {
		jw_key_str(&w, t->columns[i].name);
		TRY(put_cell(x->a, &w, t->columns[i].type, cell));
	}
	jw_end_obj(&w);
	*out = buf_slice(&b);
	return b.err;
}

static enum err put_scalar(struct uc_answer *x, struct jval row)
{
	struct j_iter it = j_iter(row);
	struct jval cell;
	struct str text;

	if (!j_next(&it, NULL, &cell))
		return OK;
	text = j_is(cell, JSON_STRING) ? j_str(x->a, cell) : j_raw(cell);
	if (!text.p)
		return E_NOMEM;
	buf_str(&x->out, text);
	return x->out.err;
}

enum err uc_answer_row(void *ctx, const struct sql_table *t, struct jval row, bool *enough)
{
	struct uc_answer *x = ctx;
	struct str text;

	if (!x->f->table) {
		*enough = true;
		x->rows = 1;
		return put_scalar(x, row);
	}
	TRY(put_row(x, t, row, &text));
	/* The first is there in any case: what is too long of it is cut where all answers are. */
	if (x->rows && x->out.n + text.n + NOTE_MAX > x->most) {
		*enough = x->cut = true;
		return OK;
	}
	buf_lit(&x->out, x->rows++ ? ",\n" : "[");
	buf_str(&x->out, text);
	return x->out.err;
}

enum err uc_answer_end(struct uc_answer *x, const struct sql_table *t, struct str *text)
{
	if (!x->f->table) {
		if (!x->out.n)
			buf_lit(&x->out, "(the function's answer is empty)");
	} else {
		buf_lit(&x->out, x->rows ? "]" : "[]");
		if (x->cut && !t->truncated && t->total > (int64_t)x->rows)
			buf_printf(&x->out, "\n[the first %zu rows of %lld]", x->rows, (long long)t->total);
		else if (x->cut || t->truncated)
			buf_printf(&x->out, "\n[the first %zu rows; there are more]", x->rows);
	}
	TRY(x->out.err);
	*text = buf_slice(&x->out);
	return memchr(text->p, 0, text->n) ? err_set(E_UPSTREAM, "the answer is no text") : OK;
}
