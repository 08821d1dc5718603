// The stream format of server-sent events (HTML standard, section 9.2), as far as answers need it: the data of each event,
// whatever pieces the network cuts the stream into.

export class EventParser {
  private rest = "";
  private data: string[] = [];

  // The data of every event that `text` completes.
  push(text: string): string[] {
    const events: string[] = [];
    this.rest += text;
    // A carriage return at the very end may be half of a line end.
    for (let match; (match = /\r\n|\n|\r(?=[^])/.exec(this.rest)); ) {
      const line = this.rest.slice(0, match.index);
      this.rest = this.rest.slice(match.index + match[0].length);
      if (line === "") {
        if (this.data.length > 0) events.push(this.data.join("\n"));
        this.data = [];
      } else if (line === "data" || line.startsWith("data:")) {
        this.data.push(line.slice(5).replace(/^ /, ""));
      }
    }
    return events;
  }
}

export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      yield* parser.push(done ? decoder.decode() : decoder.decode(value, { stream: true }));
      if (done) return;
    }
  } finally {
    reader.releaseLock();
  }
}
