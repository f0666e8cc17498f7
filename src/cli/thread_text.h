/* Messages and values for people to read: whoever wrote them - LangChain in Python or JavaScript, the Agents SDK, plain role and
 * content. */
#ifndef CENOTE_CLI_THREAD_TEXT_H
#define CENOTE_CLI_THREAD_TEXT_H

#include "base/json/json.h"

/* Whether v looks like a message or like an item of a session. */
bool text_is_message(struct jval v);
/* Lines "  role  text", the text's further lines below its first; colour: the role in bold. Ends with a line feed. */
void text_message(struct buf *out, struct arena *a, struct jval v, unsigned indent, bool colour);
/* A value on one line, at most width characters (0: all). Strings bare, everything else as JSON; control characters as blanks. */
void text_value(struct buf *out, struct arena *a, struct jval v, size_t width);
/* "3.2 KiB" */
void text_bytes(struct buf *out, int64_t n);
/* "now", "5m", "3h", "12d": how long before now_us it was; "" when time is no RFC 3339. */
void text_age(struct buf *out, struct str time, int64_t now_us);

#endif
