// Browsers start no worker from a page that was opened as a file. There the search's script runs in a
// hidden frame instead; its name tells the theme's script where its other files are.
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.scope = frame.contentWindow;
      this.scope.postMessage = (message) =>
        this.dispatchEvent(new MessageEvent("message", { data: message }));
      this.scope.importScripts = async (...urls) => {
        for (const each of urls) await this.load(each);
      };
      this.ready = this.load(url);
    }

    load(url) {
      return new Promise((resolve, reject) => {
        const script = this.scope.document.createElement("script");
        script.src = url;
        script.onload = resolve;
        script.onerror = reject;
        this.scope.document.body.append(script);
      });
    }

    async postMessage(message) {
      await this.ready;
      this.scope.dispatchEvent(new this.scope.MessageEvent("message", { data: message }));
    }
  };
}
