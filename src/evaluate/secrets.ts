const REMOVED = '[key removed]';
/** Shorter values, such as the "none" of a local server, are no secret. */
const LEAST_SECRET = 5;

/**
 * Makes texts of a server fit to be shown and kept: without keys and passwords, in any of the ways in which a server or
 * a library may write them, and all that looks like a bearer token or a key of OpenAI's form.
 */
export function scrubber(secrets: readonly string[]): (text: string) => string {
  const forms = secrets
    .filter((secret) => secret.length >= LEAST_SECRET)
    .flatMap((secret) => [
      secret,
      encodeURIComponent(secret),
      JSON.stringify(secret).slice(1, -1),
      base64(secret),
    ])
    .sort((a, b) => b.length - a.length); // a part of another would leave the rest of it
  return (text) =>
    forms
      .reduce((clean, form) => clean.replaceAll(form, REMOVED), text)
      .replace(/\b(bearer)\s+(?!\[key removed\])[^\s"',;}\]]{5,}/gi, `$1 ${REMOVED}`)
      .replace(/\bsk-[\w*.-]{6,}/g, REMOVED);
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64').replace(/=+$/, '');
}
