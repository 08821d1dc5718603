// Asks for the API key. It is kept until the tab is closed, and sent to this server only.
import { useRef } from "preact/hooks";
import { setKey } from "../api/client.ts";
import { Dialog } from "../parts/dialog.tsx";

export function KeyDialog(props: { wrong: boolean; onDone: (given: boolean) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const submit = (event: Event) => {
    event.preventDefault();
    const key = input.current?.value.trim() ?? "";
    if (key) {
      setKey(key);
      props.onDone(true);
    }
  };
  return (
    <Dialog title="API key" onClose={() => props.onDone(false)}>
      <form class="stack" onSubmit={submit}>
        <p class="quiet">This server asks for a key. It is kept in this tab only.</p>
        <label class="field">
          <span>Key</span>
          <input ref={input} type="password" autocomplete="off" autofocus aria-invalid={props.wrong} aria-describedby="key-error" />
        </label>
        <p class="error" id="key-error" role="alert">
          {props.wrong && "That key was refused."}
        </p>
        <div class="buttons">
          <button type="submit" class="button primary">
            Use this key
          </button>
        </div>
      </form>
    </Dialog>
  );
}
