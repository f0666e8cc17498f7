/* Fuzz target: the configuration file. Whatever it says, reading ends in settings within their ranges and a list of problems, each
 * with a sentence; printed and read again, the settings are the same. */
#include "daemon/config.h"
#include "must.h"
#include "store/open.h"

/* A password is never printed; what was read again lacks it. */
static bool is_secret(const struct opt *o, const void *field)
{
	return o->type == OPT_SECRET || (o->type == OPT_URL && store_url_has_secret(*(const struct str *)field));
}

static void check_rows(struct arena *a, struct config *c)
{
	const struct opt *rows;
	size_t n;

	rows = config_rows(&n);
	for (size_t i = 0; i < n; i++) {
		struct buf text;

		buf_init(&text, a, (size_t)1 << 20);
		opt_format(&rows[i], opt_field_c(c, &rows[i]), &text);
		MUST(text.err == OK);
	}
}

static void read_again(struct arena *a, struct config *c)
{
	const struct opt *rows;
	struct problems p = {.a = a};
	struct config again;
	struct buf text;
	size_t n;

	buf_init(&text, a, (size_t)4 << 20);
	config_print(c, false, false, &text);
	MUST(text.err == OK);
	MUST(config_init(&again) == OK);
	config_yaml(&again, buf_slice(&text), STR("again"), &p);
	if (p.n != 0)
		fprintf(stderr, "%.*s: %.*s\n%.*s\n", STR_ARG(p.v[0].key), STR_ARG(p.v[0].message), STR_ARG(buf_slice(&text)));
	MUST(p.n == 0);
	rows = config_rows(&n);
	for (size_t i = 0; i < n; i++)
		if (!is_secret(&rows[i], opt_field_c(c, &rows[i])))
			MUST(opt_equal(&rows[i], opt_field_c(c, &rows[i]), opt_field_c(&again, &rows[i])));
	config_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems p = {0};
	struct config c;
	struct arena a;

	arena_init(&a, (size_t)64 << 20);
	p.a = &a;
	MUST(config_init(&c) == OK);
	config_yaml(&c, str_of((const char *)data, size), STR("fuzz.yaml"), &p);
	for (size_t i = 0; i < p.n; i++)
		MUST(p.v[i].message.n > 0);
	check_rows(&a, &c);
	if (p.n == 0)
		read_again(&a, &c);
	config_release(&c);
	arena_release(&a);
	return 0;
}
