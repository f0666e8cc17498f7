/* The YAML file: libyaml's events become dotted keys and texts, each with its line and column. Only what a configuration needs is
 * allowed: mappings, scalars, lists of scalars; no anchors, aliases, tags, merge keys, duplicate keys or further documents. */
#include "daemon/yaml_impl.h"

#include <stdio.h>

#define FILE_MAX (256u << 10)
#define DEPTH_MAX 4
#define LIST_MAX 256

static unsigned line_of(const struct reader *r)
{
	return (unsigned)r->ev.start_mark.line + 1;
}

static unsigned column_of(const struct reader *r)
{
	return (unsigned)r->ev.start_mark.column + 1;
}

void yaml_refuse(struct reader *r, struct str key, const char *what)
{
	problem_add(r->p, r->file, line_of(r), column_of(r), key, str_of(NULL, 0), "%s", what);
	r->stop = true;
}

bool yaml_next(struct reader *r)
{
	if (r->have)
		yaml_event_delete(&r->ev);
	r->have = false;
	if (r->stop)
		return false;
	if (!yaml_parser_parse(&r->parser, &r->ev)) {
		problem_add(r->p, r->file, (unsigned)r->parser.problem_mark.line + 1, (unsigned)r->parser.problem_mark.column + 1,
			    str_of(NULL, 0), str_of(NULL, 0), "not YAML: %s",
			    r->parser.problem ? r->parser.problem : "out of memory");
		r->stop = true;
		return false;
	}
	r->have = true;
	const yaml_char_t *anchor = NULL, *tag = NULL;
	switch (r->ev.type) {
	case YAML_ALIAS_EVENT:
		yaml_refuse(r, str_of(NULL, 0), "aliases are not allowed");
		return false;
	case YAML_SCALAR_EVENT:
		anchor = r->ev.data.scalar.anchor;
		tag = r->ev.data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = r->ev.data.sequence_start.anchor;
		tag = r->ev.data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = r->ev.data.mapping_start.anchor;
		tag = r->ev.data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor || tag) {
		yaml_refuse(r, str_of(NULL, 0), anchor ? "anchors are not allowed" : "tags are not allowed");
		return false;
	}
	return true;
}

struct str yaml_scalar_text(const struct reader *r)
{
	return str_of((const char *)r->ev.data.scalar.value, r->ev.data.scalar.length);
}

bool yaml_skip(struct reader *r)
{
	int depth = 0;
	for (;;) {
		if (r->ev.type == YAML_MAPPING_START_EVENT || r->ev.type == YAML_SEQUENCE_START_EVENT)
			depth++;
		else if (r->ev.type == YAML_MAPPING_END_EVENT || r->ev.type == YAML_SEQUENCE_END_EVENT)
			depth--;
		if (depth == 0)
			return true;
		if (!yaml_next(r))
			return false;
	}
}

static bool empty_scalar(const struct reader *r)
{
	struct str s = yaml_scalar_text(r);
	return r->ev.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (s.n == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null")));
}

static bool read_json(struct reader *r, const struct opt *o, struct opt_origin from)
{
	struct buf b;
	struct str text;
	buf_init(&b, &r->c->arena, (size_t)1 << 20);
	if (!yaml_json(r, str_c(o->key), &b))
		return false;
	text = buf_slice(&b);
	config_set(r->c, o, &text, 1, from, r->p);
	return true;
}

/* The event under way begins the value of row o. */
static bool read_value(struct reader *r, const struct opt *o)
{
	struct opt_origin from = {FROM_FILE, line_of(r), column_of(r), {0}};
	struct str key = str_c(o->key), texts[LIST_MAX];
	size_t n = 0;
	bool list = r->ev.type == YAML_SEQUENCE_START_EVENT;
	if (o->attr & OPT_JSON && (list || r->ev.type == YAML_MAPPING_START_EVENT))
		return read_json(r, o, from);
	if (o->attr & OPT_WORDS && r->ev.type == YAML_MAPPING_START_EVENT) {
		if (!yaml_words(r, key, texts, LIST_MAX, &n))
			return false;
		config_set(r->c, o, texts, n, from, r->p);
		return true;
	}
	if (r->ev.type == YAML_MAPPING_START_EVENT) {
		problem_add(r->p, r->file, from.line, from.column, key, str_of(NULL, 0), "takes a value, not a group of settings");
		return yaml_skip(r);
	}
	if (list && o->type != OPT_LIST && o->type != OPT_ADDR) {
		problem_add(r->p, r->file, from.line, from.column, key, str_of(NULL, 0), "takes one value, not a list");
		return yaml_skip(r);
	}
	if (list && !yaml_next(r))
		return false;
	for (; r->ev.type != YAML_SEQUENCE_END_EVENT; n++) {
		if (r->ev.type != YAML_SCALAR_EVENT || empty_scalar(r) || n == LIST_MAX) {
			yaml_refuse(r, key,
				    n == LIST_MAX		      ? "has more than 256 entries"
				    : r->ev.type == YAML_SCALAR_EVENT ? "has no value"
								      : "a list may hold only plain values");
			return false;
		}
		texts[n] = arena_str(&r->c->arena, yaml_scalar_text(r));
		if (texts[n].p == NULL) {
			yaml_refuse(r, key, "the file needs too much memory");
			return false;
		}
		if (!list) {
			n++;
			break;
		}
		if (!yaml_next(r))
			return false;
	}
	config_set(r->c, o, texts, n, from, r->p);
	return true;
}

/* Key "api_key_file" of secret row "api_key". */
static const struct opt *secret_file_row(struct str key)
{
	if (!str_ends(key, STR("_file")))
		return NULL;
	const struct opt *o = config_row(str_sub(key, 0, key.n - 5));
	return o && opt_secret_file(o) ? o : NULL;
}

static bool is_group(struct str key)
{
	size_t n;
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++) {
		struct str k = str_c(rows[i].key);
		if (str_starts(k, key) && k.n > key.n && k.p[key.n] == '.')
			return true;
	}
	return config_foreign_group(key);
}

static bool read_group(struct reader *r, struct str prefix, int depth);

static bool read_known(struct reader *r, struct str key, const struct opt *o, unsigned line, unsigned column)
{
	size_t n;
	bool *seen = &r->seen[o - config_rows(&n)];
	if (*seen) {
		problem_add(r->p, r->file, line, column, key, str_of(NULL, 0),
			    str_eq(key, str_c(o->key)) ? "is set twice" : "is set twice: it is %s", o->key);
		return yaml_skip(r);
	}
	*seen = true;
	if (o->type != OPT_SECRET)
		return read_value(r, o);
	bool file = str_ends(key, STR("_file"));
	if (!file) {
		problem_add(r->p, r->file, line, column, key, str_of(NULL, 0),
			    "a secret does not belong into this file; name a file with %s_file, or set the environment variable",
			    o->key);
		return yaml_skip(r);
	}
	if (r->ev.type != YAML_SCALAR_EVENT || empty_scalar(r)) {
		problem_add(r->p, r->file, line, column, key, str_of(NULL, 0), "must be the path of a file");
		return yaml_skip(r);
	}
	config_secret_file(r->c, o, yaml_scalar_text(r), (struct opt_origin){FROM_FILE, line, column, {0}}, r->p);
	return true;
}

/* One member: the key is the event under way. */
static bool read_member(struct reader *r, struct str prefix, int depth)
{
	unsigned line = line_of(r), column = column_of(r);
	if (r->ev.type != YAML_SCALAR_EVENT) {
		yaml_refuse(r, prefix, "a key must be a plain word");
		return false;
	}
	struct str word = yaml_scalar_text(r);
	if (word.n > 200 || str_eq(word, STR("<<"))) {
		yaml_refuse(r, prefix, word.n > 200 ? "the key is too long" : "merge keys are not allowed");
		return false;
	}
	struct str key =
		prefix.n ? arena_printf(&r->c->arena, "%.*s.%.*s", STR_ARG(prefix), STR_ARG(word)) : arena_str(&r->c->arena, word);
	if (key.p == NULL) {
		yaml_refuse(r, prefix, "the file needs too much memory");
		return false;
	}
	if (!yaml_next(r))
		return false;
	const struct foreign_key *other = config_foreign(key);
	const struct opt *o = config_row(other && other->row ? str_c(other->row) : key);
	if (other && !other->row) {
		config_warn(r->c, r->file, line, key, "%s", other->note);
		return yaml_skip(r);
	}
	if (o == NULL)
		o = secret_file_row(key);
	if (o)
		return read_known(r, key, o, line, column);
	if (is_group(key)) {
		if (r->ev.type == YAML_MAPPING_START_EVENT && depth < DEPTH_MAX) {
			for (size_t i = 0; i < r->groups_n; i++)
				if (str_eq(r->groups[i], key))
					problem_add(r->p, r->file, line, column, key, str_of(NULL, 0), "is there twice");
			if (r->groups_n < 64)
				r->groups[r->groups_n++] = key;
			return read_group(r, key, depth + 1);
		}
		if (r->ev.type != YAML_SCALAR_EVENT || !empty_scalar(r))
			problem_add(r->p, r->file, line, column, key, str_of(NULL, 0), "is a group of settings, not a setting");
		return yaml_skip(r);
	}
	if (config_foreign_rest(key)) {
		config_warn(r->c, r->file, line, key, "is not used by Cenote");
		return yaml_skip(r);
	}
	const struct opt *close = config_closest(key);
	problem_add(r->p, r->file, line, column, key, close ? str_c(close->key) : str_of(NULL, 0), "there is no such setting");
	return yaml_skip(r);
}

/* The mapping has begun; ends behind its end event. */
static bool read_group(struct reader *r, struct str prefix, int depth)
{
	while (yaml_next(r)) {
		if (r->ev.type == YAML_MAPPING_END_EVENT)
			return true;
		if (!read_member(r, prefix, depth))
			return false;
	}
	return false;
}

static void read_stream(struct reader *r)
{
	if (!yaml_next(r) || !yaml_next(r)) /* stream start, then document start or stream end */
		return;
	if (r->ev.type == YAML_STREAM_END_EVENT)
		return;
	if (!yaml_next(r))
		return;
	if (r->ev.type == YAML_MAPPING_START_EVENT) {
		if (!read_group(r, str_of(NULL, 0), 0))
			return;
	} else if (r->ev.type != YAML_SCALAR_EVENT || !empty_scalar(r)) {
		yaml_refuse(r, str_of(NULL, 0), "the file must hold settings: `key: value` lines");
		return;
	}
	if (!yaml_next(r) || !yaml_next(r)) /* document end, then stream end */
		return;
	if (r->ev.type != YAML_STREAM_END_EVENT)
		yaml_refuse(r, str_of(NULL, 0), "a second document is not allowed");
}

void config_yaml(struct config *c, struct str text, struct str name, struct problems *p)
{
	if (text.n > FILE_MAX) {
		problem_add(p, name, 0, 0, str_of(NULL, 0), str_of(NULL, 0), "is larger than 256 KiB");
		return;
	}
	struct reader r = {.c = c, .file = name, .p = p};
	if (!yaml_parser_initialize(&r.parser)) {
		problem_add(p, name, 0, 0, str_of(NULL, 0), str_of(NULL, 0), "out of memory");
		return;
	}
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
	read_stream(&r);
	if (r.have)
		yaml_event_delete(&r.ev);
	yaml_parser_delete(&r.parser);
}
