/* Types as Unity Catalog writes them, and what JSON schema has for them. What comes is another server's: its depth and length are
 * bounded, and what is not known has no schema. */
#include <ctype.h>

#include "tool/uc_impl.h"

enum { DEPTH_MAX = 16, WORD_MAX = 32 };

struct reader {
	struct str s;
	size_t at;
	unsigned depth;
	struct jw *w;
	struct arena *a;
};

/* One word may have several names. */
static const struct scalar {
	const char *name, *json, *format; /* format NULL: none */
	int64_t least, most;		  /* 0, 0: not bounded */
	enum uc_form form;
	const char *sql; /* NULL: the type's own text */
} scalars[] = {
	{"string", "string", NULL, 0, 0, UC_TEXT, "STRING"},
	{"char", "string", NULL, 0, 0, UC_TEXT, "STRING"},
	{"varchar", "string", NULL, 0, 0, UC_TEXT, "STRING"},
	{"int", "integer", NULL, INT32_MIN, INT32_MAX, UC_WHOLE, "INT"},
	{"integer", "integer", NULL, INT32_MIN, INT32_MAX, UC_WHOLE, "INT"},
	{"bigint", "integer", NULL, 0, 0, UC_WHOLE, "BIGINT"},
	{"long", "integer", NULL, 0, 0, UC_WHOLE, "BIGINT"},
	{"smallint", "integer", NULL, INT16_MIN, INT16_MAX, UC_WHOLE, "SMALLINT"},
	{"short", "integer", NULL, INT16_MIN, INT16_MAX, UC_WHOLE, "SMALLINT"},
	{"tinyint", "integer", NULL, INT8_MIN, INT8_MAX, UC_WHOLE, "TINYINT"},
	{"byte", "integer", NULL, INT8_MIN, INT8_MAX, UC_WHOLE, "TINYINT"},
	{"double", "number", NULL, 0, 0, UC_NUMBER, "DOUBLE"},
	{"float", "number", NULL, 0, 0, UC_NUMBER, "FLOAT"},
	{"real", "number", NULL, 0, 0, UC_NUMBER, "FLOAT"},
	{"decimal", "number", NULL, 0, 0, UC_NUMBER, NULL},
	{"dec", "number", NULL, 0, 0, UC_NUMBER, NULL},
	{"numeric", "number", NULL, 0, 0, UC_NUMBER, NULL},
	{"boolean", "boolean", NULL, 0, 0, UC_NUMBER, "BOOLEAN"},
	{"date", "string", "date", 0, 0, UC_TEXT, "DATE"},
	{"timestamp", "string", "date-time", 0, 0, UC_TEXT, "TIMESTAMP"},
	{"timestamp_ntz", "string", NULL, 0, 0, UC_TEXT, "TIMESTAMP_NTZ"},
	{"binary", "string", "byte", 0, 0, UC_BINARY, "STRING"},
};

/* ------------------------------------------------------------------------ words */

static bool take(struct reader *r, char c)
{
	while (r->at < r->s.n && r->s.p[r->at] == ' ')
		r->at++;
	if (r->at == r->s.n || r->s.p[r->at] != c)
		return false;
	r->at++;
	return true;
}

static struct str word(struct reader *r)
{
	size_t from;

	while (r->at < r->s.n && r->s.p[r->at] == ' ')
		r->at++;
	for (from = r->at; r->at < r->s.n; r->at++)
		if (!isalnum((unsigned char)r->s.p[r->at]) && r->s.p[r->at] != '_')
			break;
	return str_sub(r->s, from, r->at);
}

/* A word if it is this one. */
static bool take_word(struct reader *r, const char *one)
{
	size_t at = r->at;

	if (str_ieq(word(r), str_c(one)))
		return true;
	r->at = at;
	return false;
}

/* The name of a struct's member, in backticks or not. */
static struct str member(struct reader *r)
{
	struct buf b;

	if (!take(r, '`'))
		return word(r);
	buf_init(&b, r->a, UC_TYPE_MAX);
	for (; r->at < r->s.n; r->at++) {
		if (r->s.p[r->at] == '`' && (r->at + 1 == r->s.n || r->s.p[++r->at] != '`'))
			return b.err == OK && b.n ? buf_slice(&b) : STR("");
		buf_byte(&b, r->s.p[r->at]);
	}
	return STR("");
}

/* "(10,2)" */
static bool take_digits(struct reader *r)
{
	if (!take(r, '('))
		return true;
	do {
		if (!word(r).n)
			return false;
	} while (take(r, ','));
	return take(r, ')');
}

/* ------------------------------------------------------------------------ types */

static bool read_type(struct reader *r, const struct scalar **scalar, bool *variant);

/* A type within another, as an object of its own. */
static bool read_inner(struct reader *r)
{
	const struct scalar *scalar;
	bool variant;

	jw_obj(r->w);
	if (!read_type(r, &scalar, &variant))
		return false;
	jw_end_obj(r->w);
	return true;
}

static bool read_struct(struct reader *r)
{
	jw_key(r->w, "type");
	jw_cstr(r->w, "object");
	jw_key(r->w, "properties");
	jw_obj(r->w);
	do {
		struct str name = member(r);

		if (!name.n || !take(r, ':'))
			return false;
		jw_key_str(r->w, name);
		if (!read_inner(r) || (take_word(r, "not") && !take_word(r, "null")))
			return false;
	} while (take(r, ','));
	jw_end_obj(r->w);
	return take(r, '>');
}

static bool read_map(struct reader *r)
{
	/* A key is a text in JSON whatever it is; only its end is looked for. */
	jw_key(r->w, "type");
	jw_cstr(r->w, "object");
	if (!word(r).n || !take_digits(r) || !take(r, ','))
		return false;
	jw_key(r->w, "additionalProperties");
	return read_inner(r) && take(r, '>');
}

static bool read_array(struct reader *r)
{
	jw_key(r->w, "type");
	jw_cstr(r->w, "array");
	jw_key(r->w, "items");
	return read_inner(r) && take(r, '>');
}

static bool read_scalar(struct reader *r, const struct scalar *s)
{
	jw_key(r->w, "type");
	jw_cstr(r->w, s->json);
	if (s->format) {
		jw_key(r->w, "format");
		jw_cstr(r->w, s->format);
	}
	if (s->most) {
		jw_key(r->w, "minimum");
		jw_i64(r->w, s->least);
		jw_key(r->w, "maximum");
		jw_i64(r->w, s->most);
	}
	return take_digits(r) && (!take_word(r, "collate") || word(r).n);
}

/* Writes the words of a schema. *scalar NULL: it is none; then *variant says whether it is that. */
static bool read_type(struct reader *r, const struct scalar **scalar, bool *variant)
{
	static const struct {
		const char *name;
		bool (*read)(struct reader *r);
	} kinds[] = {{"array", read_array}, {"map", read_map}, {"struct", read_struct}};
	struct str name = word(r);
	bool well;

	*scalar = NULL;
	*variant = str_ieq(name, STR("variant"));
	if (*variant)
		return true;
	for (size_t i = 0; i < sizeof scalars / sizeof scalars[0]; i++)
		if (str_ieq(name, str_c(scalars[i].name)))
			return read_scalar(r, *scalar = &scalars[i]);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (!str_ieq(name, str_c(kinds[i].name)))
			continue;
		if (!take(r, '<') || r->depth == DEPTH_MAX)
			return false;
		r->depth++;
		well = kinds[i].read(r);
		r->depth--;
		return well;
	}
	return false;
}

static struct str upper(struct arena *a, struct str s)
{
	struct str out = arena_str(a, s);

	for (size_t i = 0; i < out.n; i++)
		((char *)(uintptr_t)out.p)[i] = (char)toupper((unsigned char)out.p[i]);
	return out;
}

enum err uc_type_read(struct arena *a, struct str text, struct jw *w, struct uc_type *out)
{
	struct reader r = {.s = str_trim(text), .w = w, .a = a};
	const struct scalar *scalar = NULL;
	bool variant = false, well = r.s.n <= UC_TYPE_MAX;

	/* The text of a list's type stands in statements between quotes. */
	for (size_t i = 0; i < r.s.n; i++)
		well = well && (unsigned char)r.s.p[i] >= ' ' && r.s.p[i] != '\'' && r.s.p[i] != '\\' && r.s.p[i] != 0x7f;
	if (!well || !read_type(&r, &scalar, &variant) || str_trim(str_sub(r.s, r.at, r.s.n)).n)
		return err_set(E_INVALID, "there is no argument for the type %.*s", STR_ARG(str_sub(r.s, 0, 100)));
	out->form = scalar ? scalar->form : variant ? UC_VARIANT : UC_JSON;
	out->text = arena_str(a, r.s);
	out->sql = !scalar ? STR("STRING") : scalar->sql ? str_c(scalar->sql) : upper(a, r.s);
	return out->text.p && out->sql.p ? OK : E_NOMEM;
}
