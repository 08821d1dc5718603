// The conversation at hand: its turns, and where the next message is written.
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { type ChatState, isRunning, send, stop } from "../chat/state.ts";
import { path } from "../chat/tree.ts";
import { Icon } from "../parts/icon.tsx";
import { fitHeight } from "../parts/textarea.ts";
import { TurnView } from "./turn.tsx";

const nearEnd = 60; // pixels from the end within which the view follows a growing answer

function Composer({ running }: { running: boolean }) {
  const box = useRef<HTMLTextAreaElement>(null);
  const submit = () => {
    const text = box.current?.value ?? "";
    if (running || text.trim() === "" || !box.current) return;
    box.current.value = "";
    fitHeight(box.current);
    send(text);
  };
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) box.current?.focus(); // not where that would open a keyboard
  }, []);
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <textarea
        id="message"
        ref={box}
        rows={1}
        aria-label="Message"
        placeholder="Write a message"
        onInput={(event) => fitHeight(event.currentTarget)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            submit();
          }
        }}
      />
      {running ? (
        <button type="button" class="round" aria-label="Stop" title="Stop (Esc)" onClick={stop}>
          <Icon name="stop" />
        </button>
      ) : (
        <button type="submit" class="round" aria-label="Send" title="Send (Enter)">
          <Icon name="send" />
        </button>
      )}
    </form>
  );
}

export function ChatView({ state }: { state: ChatState }) {
  const { current } = state;
  const turns = path(current);
  const running = isRunning(current);
  const scroller = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  useLayoutEffect(() => {
    const element = scroller.current;
    if (element && follows.current) element.scrollTop = element.scrollHeight;
  });
  useLayoutEffect(() => {
    follows.current = true;
    if (scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
  }, [current.id, turns.length]);
  const look = () => {
    const element = scroller.current;
    if (element) follows.current = element.scrollHeight - element.scrollTop - element.clientHeight < nearEnd;
  };
  return (
    <main class="chat">
      <div class="transcript" ref={scroller} onScroll={look} tabIndex={-1}>
        <div class="column" role="log" aria-label="Conversation" aria-busy={running}>
          {turns.length === 0 && (
            <div class="welcome">
              <h1>What shall we talk about?</h1>
              <p class="quiet">
                The model runs on this server, and the conversation stays in this browser. Press <kbd>?</kbd> for the keyboard.
              </p>
            </div>
          )}
          {turns.map((turn) => (
            <TurnView key={turn.id} turn={turn} conversation={current} running={running} />
          ))}
        </div>
      </div>
      <div class="column">
        <Composer running={running} />
      </div>
    </main>
  );
}
