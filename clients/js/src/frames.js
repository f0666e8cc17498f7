/**
 * The form of requests and answers of /cenote/v1/checkpoints: the length of the head (4 bytes, little-endian), the head as JSON, then the
 * bytes of values in the order in which the head mentions their lengths.
 */

export const FRAMES = "application/vnd.cenote.frames";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export function encodeFrames(head, values) {
  const text = encoder.encode(JSON.stringify(head));
  const out = new Uint8Array(values.reduce((n, v) => n + v.length, 4 + text.length));
  new DataView(out.buffer).setUint32(0, text.length, true);
  out.set(text, 4);
  let at = 4 + text.length;
  for (const v of values) {
    out.set(v, at);
    at += v.length;
  }
  return out;
}

/** {head, take}: take(n) gives the next n bytes. Throws where the frame is none. */
export function decodeFrames(bytes) {
  if (bytes.length < 4) throw new Error("the server's answer is shorter than the head of a frame");
  let at = 4 + new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  if (at > bytes.length) throw new Error("the server's answer ends within its head");
  const head = JSON.parse(decoder.decode(bytes.subarray(4, at)));
  return {
    head,
    take(n) {
      if (!Number.isInteger(n) || n < 0 || at + n > bytes.length) throw new Error("the server's answer ends within a value");
      at += n;
      return bytes.subarray(at - n, at);
    },
  };
}
