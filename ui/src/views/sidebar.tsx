// The conversations that this browser keeps, and the way to the other views.
import { useRef, useState } from "preact/hooks";
import { addConversations, changeSettings, chat, removeConversation, show } from "../chat/state.ts";
import { exportJson, importJson } from "../chat/transfer.ts";
import { type Conversation, titleOf } from "../chat/tree.ts";
import { Icon } from "../parts/icon.tsx";
import { useStore } from "../parts/store.ts";
import { type View, views } from "./view.ts";

function download(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function Entry(props: { conversation: Conversation; current: boolean; onShow: () => void }) {
  const { conversation } = props;
  const [mode, setMode] = useState<"plain" | "rename" | "remove">("plain");
  const title = titleOf(conversation);
  if (mode === "rename") {
    const keep = (event: { currentTarget: HTMLInputElement }) => {
      changeSettings({ title: event.currentTarget.value.trim() });
      setMode("plain");
    };
    return (
      <li class="entry">
        <input
          class="rename"
          aria-label="Name of the conversation"
          autofocus
          ref={(input) => input?.focus()}
          defaultValue={title}
          onBlur={keep}
          onKeyDown={(event) => {
            if (event.key === "Enter") keep(event);
            if (event.key === "Escape") setMode("plain");
          }}
        />
      </li>
    );
  }
  if (mode === "remove") {
    return (
      <li class="entry asking" role="group" aria-label={`Delete ${title}?`}>
        <span>Delete?</span>
        <button type="button" class="button small danger" ref={(button) => button?.focus()} onClick={() => removeConversation(conversation.id)}>
          Delete
        </button>
        <button type="button" class="button small" onClick={() => setMode("plain")}>
          Keep
        </button>
      </li>
    );
  }
  return (
    <li class={props.current ? "entry current" : "entry"}>
      <button type="button" class="entry-title" aria-current={props.current ? "true" : undefined} onClick={props.onShow}>
        {title}
      </button>
      {props.current && (
        <>
          <button type="button" class="icon-button small" aria-label="Rename conversation" title="Rename" onClick={() => setMode("rename")}>
            <Icon name="edit" />
          </button>
          <button type="button" class="icon-button small" aria-label="Delete conversation" title="Delete" onClick={() => setMode("remove")}>
            <Icon name="trash" />
          </button>
        </>
      )}
    </li>
  );
}

export function Sidebar(props: { view: View; onView: (view: View) => void; onNew: () => void; onClose: () => void }) {
  const state = useStore(chat);
  const file = useRef<HTMLInputElement>(null);
  const [error, setError] = useState("");
  const read = async () => {
    const chosen = file.current?.files?.[0];
    if (!chosen) return;
    try {
      addConversations(importJson(await chosen.text()));
      setError("");
      props.onView("chat");
    } catch (reason) {
      setError(`${chosen.name}: ${reason instanceof Error ? reason.message : String(reason)}`);
    }
    if (file.current) file.current.value = "";
  };
  return (
    <>
      <div class="shade" onClick={props.onClose} />
      <nav class="sidebar" aria-label="Conversations and views">
        <div class="brand">
          <span class="brand-name">Lathe</span>
        </div>
        <div class="views" role="group" aria-label="View">
          {(Object.keys(views) as View[]).map((view) => (
            <button
              key={view}
              type="button"
              aria-pressed={props.view === view}
              onClick={() => props.onView(view)}
            >
              {views[view]}
            </button>
          ))}
        </div>
        <button type="button" class="button wide" onClick={props.onNew}>
          <Icon name="plus" /> New conversation
        </button>
        <ul class="entries">
          {state.conversations.map((conversation) => (
            <Entry
              key={conversation.id}
              conversation={conversation}
              current={conversation.id === state.current.id}
              onShow={() => {
                show(conversation.id);
                props.onView("chat");
              }}
            />
          ))}
          {state.conversations.length === 0 && <li class="quiet empty">Conversations stay in this browser.</li>}
        </ul>
        {(error || state.storageError) && (
          <p class="error" role="alert">
            {error || state.storageError}
          </p>
        )}
        <div class="buttons spread">
          <button
            type="button"
            class="button small"
            disabled={state.conversations.length === 0}
            onClick={() => download("lathe-conversations.json", exportJson(state.conversations))}
          >
            Export
          </button>
          <button type="button" class="button small" onClick={() => file.current?.click()}>
            Import
          </button>
          <input ref={file} type="file" accept="application/json,.json" hidden aria-label="File to import" onChange={() => void read()} />
        </div>
      </nav>
    </>
  );
}
