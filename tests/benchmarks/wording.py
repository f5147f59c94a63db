"""The words of generated tables in Chinese. Numbers and code are the same in both languages."""

from __future__ import annotations

# fmt: off
CHINESE = {
    "httpx, our bodies": "httpx，与我们相同的请求体",
    "httpx, one body": "httpx，一个请求体",
    "httpx, one body, the server cuts to 10": "httpx，一个请求体，由服务截取前 10 个",
    "httpx, a pool of 64": "httpx，64 个连接的连接池",
    "httpx, 64 clients of one connection": "httpx，64 个客户端，各一个连接",
    "`HttpReranker.acompress_documents`, in threads":
        "`HttpReranker.acompress_documents`，在线程中",
    "`Reranker.arank`, one server": "`Reranker.arank`，一个服务",
    "`Reranker.arank`, two servers": "`Reranker.arank`，两个服务",
    "time / httpx's time, by documents": "耗时 / httpx 的耗时，按文档数",
    "CPU beyond httpx's, µs a document, by documents":
        "比 httpx 多用的 CPU，每个文档的微秒数，按文档数",
    "CPU of the server in httpx's time": "服务的 CPU 在 httpx 耗时中的占比",
    "requests": "请求数",
    "requests at once": "同时的请求数",
    "time / `Reranker.arank`'s time": "耗时 / `Reranker.arank` 的耗时",
    "contender": "参与比较者",
    "calls that ended with the right order": "以正确顺序结束的调用",
    "KB a call": "每次调用的 KB 数",
    "latency beside the long call / alone": "与长调用同时的延迟 / 单独的延迟",
    "throughput / one server's": "吞吐量 / 一个服务的吞吐量",
    "while one of two servers hangs": "两个服务之一无响应时",
    "calls that failed": "失败的调用",
    "calls that met a timeout": "遇到超时的调用",
    "timeouts that a call met, at most": "一次调用最多遇到的超时次数",
    "the slowest call, in timeouts": "最慢的调用，以超时时长为单位",
    "time / `LocalEngine`'s time": "耗时 / `LocalEngine` 的耗时",
    "time / `VLLMEngine`'s time": "耗时 / `VLLMEngine` 的耗时",
    "the model card's code": "模型卡的代码",
    "`LLM.score` (vLLM), all cores": "`LLM.score` (vLLM)，使用所有核",
    "one query, short documents": "一个查询，短文档",
    "one query, long documents": "一个查询，长文档",
    "several queries, short documents": "多个查询，短文档",
    "cache": "缓存",
    "in memory": "内存中",
    "in a folder": "文件夹中",
    "time of a first call / of the same call again": "首次调用的耗时 / 再次调用的耗时",
    "call": "调用",
    "time of a first call / this call's": "首次调用的耗时 / 本次调用的耗时",
    "the same query again": "同一查询再次调用",
    "another query, the same instruction": "另一查询，相同指令",
    "added": "增加的做法",
    "times as fast as before": "是前一行的几倍快",
    "times as fast as the model card's code": "是模型卡代码的几倍快",
    "logits of the last tokens only": "只计算最后一个 token 的 logits",
    "documents packed without padding": "文档无填充地拼接",
    "the last layer for the last tokens only": "最后一层只计算最后一个 token",
    "the query's part computed once": "查询部分只计算一次",
    "import": "导入",
    "Python alone": "仅 Python",
    "time beside that of Python alone": "与仅 Python 相比的耗时",
    "beside LangChain's own": "与 LangChain 自身相比",
    "time to a first score / `LocalEngine`'s": "到首个分数的耗时 / `LocalEngine` 的耗时",
    "pairs": "文本对",
    "before them": "此前的文本对",
    "growth of the process, MB": "进程的增长，MB",
    "machine and software": "机器与软件",
    "used": "所用",
    "processor": "处理器",
    "cores": "核数",
    "system": "系统",
    "load average before a workload, at most": "各项负载开始前的平均负载，最大值",
}
# fmt: on


def chinese(cell: str) -> str:
    """A cell of a generated table in Chinese, bold as it was."""
    text = cell.strip("*")
    return cell.replace(text, CHINESE.get(text, text)) if text else cell
