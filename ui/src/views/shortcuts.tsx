// The keyboard: single letters where nothing is being typed, Escape everywhere.
import { useEffect } from "preact/hooks";
import { chat, isRunning, show, stepBranch, stop } from "../chat/state.ts";
import { branch, path } from "../chat/tree.ts";
import { Dialog } from "../parts/dialog.tsx";

export interface Commands {
  newConversation: () => void;
  showChat: () => void;
  showPrograms: () => void;
  showServer: () => void;
  settings: () => void;
  shortcuts: () => void;
  theme: () => void;
  pickModel: () => void;
}

const list: [string, string][] = [
  ["Enter", "send the message"],
  ["Shift Enter", "a new line"],
  ["Esc", "stop the answer; leave a field"],
  ["/", "write a message"],
  ["n", "new conversation"],
  ["j  k", "next, previous conversation"],
  ["r", "regenerate the last answer"],
  ["e", "edit your last message"],
  ["[  ]", "previous, next branch"],
  ["m", "choose the model"],
  ["s", "settings"],
  ["1  2  3", "chat, programs, server"],
  ["t", "theme: system, light, dark"],
  ["?", "this list"],
];

// The last of the buttons that carry out a command, pressed.
function press(command: string): void {
  const buttons = document.querySelectorAll<HTMLButtonElement>(`[data-command="${command}"]`);
  buttons[buttons.length - 1]?.click();
}

function stepLastBranch(step: number): void {
  const { current } = chat.get();
  const turn = path(current).reverse().find((one) => branch(current, one).count > 1);
  if (turn) stepBranch(turn, step);
}

function stepConversation(step: number): void {
  const { conversations, current } = chat.get();
  const at = conversations.findIndex((one) => one.id === current.id);
  const next = conversations[Math.max(0, at + step)];
  if (next) show(next.id);
}

export function useShortcuts(commands: Commands): void {
  useEffect(() => {
    const actions: Record<string, () => void> = {
      "/": () => (commands.showChat(), requestAnimationFrame(() => document.getElementById("message")?.focus())),
      n: commands.newConversation,
      j: () => stepConversation(1),
      k: () => stepConversation(-1),
      r: () => press("regenerate"),
      e: () => press("edit-user"),
      "[": () => stepLastBranch(-1),
      "]": () => stepLastBranch(1),
      m: commands.pickModel,
      s: commands.settings,
      "1": commands.showChat,
      "2": commands.showPrograms,
      "3": commands.showServer,
      t: commands.theme,
      "?": commands.shortcuts,
    };
    const pressed = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (document.querySelector("dialog[open]")) return; // which has its own keys
      const target = event.target as HTMLElement;
      if (event.key === "Escape") {
        if (isRunning(chat.get().current)) stop();
        else target.blur();
        return;
      }
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
      const action = actions[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
}

export function ShortcutsDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <dl class="shortcuts">
        {list.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").filter(Boolean).map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
