/** The token of requests, which a function of the program can replace when the collector no longer accepts it. */

/**
 * Returns a token, or undefined for requests with a session's cookie. Called before the first request, and again after
 * the collector answers 401: return a new token then, or open a new session.
 */
export type TokenProvider = () => string | undefined | Promise<string | undefined>;

export class Credentials {
  readonly #provide: TokenProvider;
  /** Whether a new token can be asked for. */
  readonly canRenew: boolean;
  /** The token of now. Requests at the same time share one call of the provider. */
  #current: Promise<string | undefined> | undefined;

  constructor(token: string | TokenProvider | undefined) {
    this.canRenew = typeof token === "function";
    this.#provide = typeof token === "function" ? token : () => token;
  }

  /** The token. Rejects when the provider fails; the next call asks the provider again. */
  get(): Promise<string | undefined> {
    this.#current ??= this.#ask();
    return this.#current;
  }

  /** Asks for a new token, unless another request did so after `rejected` was returned. */
  renew(rejected = this.#current): Promise<string | undefined> {
    if (this.#current === rejected) this.#current = undefined;
    return this.get();
  }

  /** Sends a request with the token, and once more with a new token after a 401. */
  async send(headers: Headers, request: (headers: Headers) => Promise<Response>): Promise<Response> {
    const token = this.get();
    const response = await request(authorize(headers, await token));
    if (response.status !== 401 || !this.canRenew) return response;
    void response.body?.cancel().catch(() => {});
    return request(authorize(headers, await this.renew(token)));
  }

  #ask(): Promise<string | undefined> {
    const asked = (async () => this.#provide())();
    asked.catch(() => {
      if (this.#current === asked) this.#current = undefined;
    });
    return asked;
  }
}

function authorize(headers: Headers, token: string | undefined): Headers {
  const own = new Headers(headers);
  if (token !== undefined) own.set("Authorization", `Bearer ${token}`);
  return own;
}
