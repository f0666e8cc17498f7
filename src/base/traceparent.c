#include "base/traceparent.h"

#include "base/hash.h"

static bool lower(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] >= 'A' && s.p[i] <= 'F')
			return false;
	return true;
}

static bool any(const uint8_t *p, size_t n)
{
	uint8_t all = 0;

	for (size_t i = 0; i < n; i++)
		all |= p[i];
	return all != 0;
}

bool traceparent_parse(struct str s, struct traceparent *out)
{
	uint8_t flags;

	if (s.n != TRACEPARENT_BYTES || !str_starts(s, STR("00-")) || s.p[35] != '-' || s.p[52] != '-' || !lower(s))
		return false;
	if (!hex_decode(str_sub(s, 3, 35), out->trace, TRACE_ID_BYTES) ||
	    !hex_decode(str_sub(s, 36, 52), out->span, SPAN_ID_BYTES) || !hex_decode(str_sub(s, 53, 55), &flags, 1))
		return false;
	/* Callers set other bits, too. */
	out->sampled = flags & 1;
	return any(out->trace, TRACE_ID_BYTES) && any(out->span, SPAN_ID_BYTES);
}

void traceparent_write(const struct traceparent *tp, char out[TRACEPARENT_BYTES + 1])
{
	memcpy(out, "00-", 3);
	hex_encode(tp->trace, TRACE_ID_BYTES, out + 3);
	out[35] = '-';
	hex_encode(tp->span, SPAN_ID_BYTES, out + 36);
	memcpy(out + 52, tp->sampled ? "-01" : "-00", 4);
}
