/** Which image formats a request accepts beyond those that everybody can show. */

/** Whether the Accept field names the type itself: a wildcard is what everybody sends (RFC 9110 section 12.5.1). */
function accepts(accept: string, type: string): boolean {
  return accept.split(',').some((range) => {
    const [name = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    return name === type && !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter));
  });
}

/** `image/avif`, `image/webp`, or empty for neither; understands its own answers. */
export function imageFormatFor(accept: string): string {
  return ['image/avif', 'image/webp'].find((type) => accepts(accept, type)) ?? '';
}
