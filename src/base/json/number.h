/* Numbers of JSON as exact decimals. Inside of base/json. */
#ifndef CENOTE_BASE_JSON_NUMBER_H
#define CENOTE_BASE_JSON_NUMBER_H

#include "base/buf.h"

/* All functions take the text of a number that the reader has accepted. */

/* As int64 when it is an integer in range, however it is written. */
bool json_number_i64(struct str raw, int64_t *out);
/* The nearest double; false when it is out of range. */
bool json_number_double(struct str raw, double *out);
/* By value and exact, whatever the length. */
int json_number_cmp(struct str a, struct str b);

/* The one form of a value: its significant digits without zeros at the end, then e and a power of ten unless that is 0; zero is 0
 * without a sign. */
void json_number_canonical(struct str raw, struct buf *out);

#define JSON_DOUBLE_TEXT 40
/* The shortest decimal that reads back as v, which must be finite; returns its length. */
size_t json_double_text(double v, char out[JSON_DOUBLE_TEXT]);

#endif
