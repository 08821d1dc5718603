// Something read from the server again and again while it is looked at.
import { useEffect, useState } from "preact/hooks";

// `take` gets what `read` answered. Returns what is wrong with the latest attempt; empty: nothing.
export function usePoll<T>(read: () => Promise<T>, take: (value: T) => void, every: number): string {
  const [error, setError] = useState("");
  useEffect(() => {
    let over = false;
    let timer: ReturnType<typeof setTimeout>;
    const look = async () => {
      try {
        const value = await read();
        if (over) return;
        take(value);
        setError("");
      } catch (reason) {
        if (!over) setError(reason instanceof Error ? reason.message : String(reason));
      }
      if (!over) timer = setTimeout(() => void look(), every);
    };
    void look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, []);
  return error;
}
