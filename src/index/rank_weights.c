/* The features' names, where each applies, and the weights of the three linear forms (design "ranking", section 2). */
#include <math.h>
#include <stdlib.h>

#include "index/rank.h"

static const struct {
	const char *name;
	enum { ALWAYS, NO_ROLES, ROLES } scope;
	bool item; /* is computed for items */
} features[RF_COUNT] = {
	[RF_LEX] = {"lex", ALWAYS, true},
	[RF_PAIR] = {"pair", ALWAYS, false},
	[RF_PREV2] = {"prev2", ALWAYS, false},
	[RF_SESS] = {"sess", ALWAYS, false},
	[RF_DATE] = {"date", ALWAYS, false},
	[RF_WHEN] = {"when", ALWAYS, false},
	[RF_V] = {"v", ALWAYS, true},
	[RF_VNEXT] = {"vnext", ALWAYS, false},
	[RF_COVER] = {"cover", NO_ROLES, false},
	[RF_ANSWER] = {"answer", NO_ROLES, false},
	[RF_ASK] = {"ask", NO_ROLES, false},
	[RF_SPK] = {"spk", NO_ROLES, false},
	[RF_USER] = {"user", ROLES, false},
};

/* Items: lex and v in about the proportion that they have among messages. It is flat there: from 1:1 to 1:3 recall at 10 of
 * messages taken for items moves by 4 points. */
static const struct rank_weights defaults = {{
	[RANK_FULL] = {[RF_LEX] = 2.0,
		       [RF_PAIR] = 1.0,
		       [RF_PREV2] = 0.7,
		       [RF_SESS] = 0.5,
		       [RF_DATE] = 3.8,
		       [RF_WHEN] = 0.8,
		       [RF_V] = 3.4,
		       [RF_VNEXT] = 1.2,
		       [RF_COVER] = 3.3,
		       [RF_ANSWER] = 2.8,
		       [RF_ASK] = -3.0,
		       [RF_SPK] = 1.2,
		       [RF_USER] = 2.0},
	[RANK_WORDS] = {[RF_LEX] = 3.7,
			[RF_PAIR] = 1.5,
			[RF_PREV2] = 0.9,
			[RF_SESS] = 0.8,
			[RF_DATE] = 3.9,
			[RF_WHEN] = 0.9,
			[RF_COVER] = 3.6,
			[RF_ANSWER] = 3.1,
			[RF_ASK] = -2.3,
			[RF_SPK] = 1.2,
			[RF_USER] = 2.6},
	[RANK_ITEMS] = {[RF_LEX] = 1.0, [RF_V] = 1.5},
}};

const struct rank_weights *rank_weights_default(void)
{
	return &defaults;
}

const char *rank_feature_name(enum rank_feature f)
{
	return features[f].name;
}

bool rank_applies(enum rank_feature f, bool roles)
{
	return features[f].scope == ALWAYS || (features[f].scope == ROLES) == roles;
}

static bool form_has(enum rank_form form, enum rank_feature f)
{
	if (form == RANK_ITEMS)
		return features[f].item;
	return form == RANK_FULL || (f != RF_V && f != RF_VNEXT);
}

static enum err no_feature(enum rank_form form, struct str name)
{
	char text[256];
	struct str s = {text, 0};

	for (int f = 0; f < RF_COUNT; f++) {
		size_t n = strlen(features[f].name);

		if (!form_has(form, (enum rank_feature)f))
			continue;
		if (s.n > 0) {
			memcpy(text + s.n, ", ", 2);
			s.n += 2;
		}
		memcpy(text + s.n, features[f].name, n);
		s.n += n;
	}
	return err_set(E_INVALID, "\"%.*s\" is not a feature of this ranking; there are: %.*s", STR_ARG(str_sub(name, 0, 60)),
		       STR_ARG(s));
}

/* Plain decimals: -12.5 */
static bool number_of(struct str s, double *out)
{
	char text[32], *end;

	if (s.n == 0 || s.n >= sizeof text)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.' || (i == 0 && s.p[i] == '-')))
			return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	*out = strtod(text, &end);
	return end == text + s.n && fabs(*out) <= RANK_WEIGHT_MAX;
}

enum err rank_weight_set(struct rank_weights *w, enum rank_form form, struct str assignment)
{
	struct str name, number;
	double value;

	if (!str_cut(assignment, '=', &name, &number))
		return err_set(E_INVALID, "\"%.*s\" is not a weight; write feature=number", STR_ARG(str_sub(assignment, 0, 60)));
	name = str_trim(name);
	number = str_trim(number);
	for (int f = 0; f < RF_COUNT; f++) {
		if (!form_has(form, (enum rank_feature)f) || !str_eq(name, str_c(features[f].name)))
			continue;
		if (!number_of(number, &value) || (form == RANK_ITEMS && value < 0))
			return err_set(E_INVALID, "the weight of %s must be a number from %d to 1000, got \"%.*s\"",
				       features[f].name, form == RANK_ITEMS ? 0 : -1000, STR_ARG(str_sub(number, 0, 60)));
		w->of[form][f] = value;
		return OK;
	}
	return no_feature(form, name);
}
