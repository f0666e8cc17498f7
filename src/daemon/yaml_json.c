/* Values of the YAML file that are no plain settings: as JSON, or as words. */
#include "base/json/json.h"
#include "daemon/yaml_impl.h"

enum { DEPTH_MAX = 16 };

static bool plain(const struct reader *r)
{
	return r->ev.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool is_number(struct reader *r, struct str s)
{
	struct json doc;
	double d;

	return s.n && s.n < 64 && (s.p[0] == '-' || (s.p[0] >= '0' && s.p[0] <= '9')) &&
	       json_parse(&r->c->arena, s, &json_default_limits, &doc) == OK && j_double(json_root(&doc), &d);
}

static void put_scalar(struct reader *r, struct buf *out)
{
	struct str s = yaml_scalar_text(r);

	if (plain(r) && (s.n == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null"))))
		buf_lit(out, "null");
	else if (plain(r) && (str_eq(s, STR("true")) || str_eq(s, STR("false")) || is_number(r, s)))
		buf_str(out, s);
	else
		json_quote(out, s);
}

static bool put(struct reader *r, struct str key, int depth, struct buf *out)
{
	bool map = r->ev.type == YAML_MAPPING_START_EVENT;

	if (r->ev.type == YAML_SCALAR_EVENT) {
		put_scalar(r, out);
		return true;
	}
	if (depth == DEPTH_MAX) {
		yaml_refuse(r, key, "is nested too deeply");
		return false;
	}
	buf_byte(out, map ? '{' : '[');
	for (bool first = true;; first = false) {
		if (!yaml_next(r))
			return false;
		if (r->ev.type == YAML_MAPPING_END_EVENT || r->ev.type == YAML_SEQUENCE_END_EVENT)
			break;
		if (!first)
			buf_byte(out, ',');
		if (map) {
			if (r->ev.type != YAML_SCALAR_EVENT) {
				yaml_refuse(r, key, "a key must be a plain word");
				return false;
			}
			json_quote(out, yaml_scalar_text(r));
			buf_byte(out, ':');
			if (!yaml_next(r))
				return false;
		}
		if (!put(r, key, depth + 1, out))
			return false;
	}
	buf_byte(out, map ? '}' : ']');
	if (out->err != OK)
		yaml_refuse(r, key, "needs too much memory");
	return out->err == OK;
}

bool yaml_json(struct reader *r, struct str key, struct buf *out)
{
	return put(r, key, 0, out);
}

static bool is_no(const struct reader *r)
{
	static const char *const no[] = {"false", "no", "off", "null", "~", ""};
	struct str s = yaml_scalar_text(r);

	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		if (str_ieq(s, str_c(no[i])))
			return true;
	return false;
}

bool yaml_words(struct reader *r, struct str key, struct str *texts, size_t most, size_t *n)
{
	for (*n = 0;;) {
		struct str word;

		if (!yaml_next(r))
			return false;
		if (r->ev.type == YAML_MAPPING_END_EVENT)
			return true;
		if (r->ev.type != YAML_SCALAR_EVENT || *n == most) {
			yaml_refuse(r, key, "must be a list of words, or words with true or false");
			return false;
		}
		word = arena_str(&r->c->arena, yaml_scalar_text(r));
		if (!word.p || !yaml_next(r))
			return false;
		if (r->ev.type == YAML_SCALAR_EVENT && is_no(r))
			continue;
		if (r->ev.type != YAML_SCALAR_EVENT) {
			config_warn(r->c, r->file, (unsigned)r->ev.start_mark.line + 1, key,
				    "what stands below %.*s is not used by Cenote", STR_ARG(word));
			if (!yaml_skip(r))
				return false;
		}
		texts[(*n)++] = word;
	}
}
