// Requests to the server this page came from: the API key where it wants one, errors in words.

// What the server answered instead of what was asked for.
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

// Asks the user for a key; false when there will be none. `wrong`: the one at hand was refused.
type KeyPrompt = (wrong: boolean) => Promise<boolean>;

const keyName = "lathe.key"; // of the session storage: gone with the tab
let prompt: KeyPrompt = () => Promise.resolve(false);
let asking: Promise<boolean> | null = null;

export function setKeyPrompt(ask: KeyPrompt): void {
  prompt = ask;
}

export function setKey(key: string): void {
  sessionStorage.setItem(keyName, key);
}

function currentKey(): string {
  return sessionStorage.getItem(keyName) ?? "";
}

// All requests that are refused at the same time share one prompt.
function askForKey(wrong: boolean): Promise<boolean> {
  asking ??= prompt(wrong).finally(() => {
    asking = null;
  });
  return asking;
}

async function failure(response: Response): Promise<ApiError> {
  let message = `the server answered ${response.status}`;
  try {
    const body = (await response.json()) as { error?: { message?: string } };
    if (body.error?.message) message = body.error.message;
  } catch {
    // Not JSON: the status says what there is to say.
  }
  return new ApiError(message, response.status);
}

export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const key = currentKey();
    const headers = new Headers(init.headers);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    if (init.body) headers.set("Content-Type", "application/json");
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ApiError("the server cannot be reached", 0);
    }
    if (response.ok) return response;
    // Another request may have brought a new key meanwhile.
    const refused = response.status === 401 && (key !== currentKey() || (await askForKey(key !== "")));
    if (!refused) throw await failure(response);
  }
}

export async function getJson<T>(path: string): Promise<T> {
  return (await (await call(path)).json()) as T;
}
