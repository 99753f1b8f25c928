package gateway

// chinese has the page's texts in Chinese. Reasons and remedies of failures stay as the log and the command line have them,
// so that they can be looked up.
var chinese = map[string]string{
	"healthy": "正常", "not healthy": "异常", "pressure": "空间压力", "running for": "已运行",
	"none": "无", "slow": "减速", "reject": "拒绝新关联", "full": "已满",

	"Received": "已接收", "Delivered": "已投递", "Waiting": "等待投递", "Need a person": "需要人工处理", "Stored": "已存储",
	"Associations": "关联", "Queries and retrievals": "查询与调取", "Interface 203": "接口 203",
	"instances since the start": "个实例（自启动以来）", "refused": "个被拒绝", "deliveries": "项投递", "the oldest for": "最早的已等待",
	"deliveries parked or refused": "项投递被搁置或拒绝承诺", "free": "可用", "in · out, now": "入 · 出（当前）", "were rejected": "个被拒绝",
	"since the start": "自启动以来", "requests": "次请求", "failed": "次失败",

	"Instances per second": "每秒实例数", "Bytes per second": "每秒字节数", "Deliveries waiting": "等待投递数",
	"received": "接收", "delivered": "投递", "waiting": "等待", "figures follow within a minute": "数据将在一分钟内显示",

	"Troubles": "问题", "what": "类别", "who": "对象", "reason, and what to do": "原因与处理办法", "number": "次数", "last": "最近",
	"rejected": "关联被拒绝", "rights": "缺少权限", "not stored": "未能存储", "delivery": "投递搁置", "damaged": "实例损坏", "rows": "元数据行",

	"Destinations": "目的地", "name": "名称", "state": "状态", "oldest": "最长等待", "parked": "搁置", "rate": "速率",
	"storage commitment": "存储承诺", "awaited": "个待承诺", "committed": "个已承诺", "degraded": "降级", "last failure": "最近一次失败",
	"idle": "空闲", "sending": "正在发送", "not working, nothing is sent until the next probe": "不可用，下次试探前不发送", "being probed": "试探中", "stopped": "已停止",
	"gateway not running": "网关未运行", "not configured": "未配置",

	"Upstreams": "上游归档", "associations": "关联",
	"ready": "就绪", "at work": "工作中", "paused by the calendar": "按日程暂停", "not working, asked again after the next probe": "不可用，下次试探后再询问",

	"Metadata rows": "元数据行", "database": "数据库", "kind": "类型", "behind": "待发布", "lacking something": "缺少内容",
	"starting": "启动中", "running": "运行中", "publishing everything": "正在全部发布", "failing": "失败",

	"configuration not taken; the one before stays in force": "新配置未被采用，原配置继续生效",
	"changed, and in force after a restart":                  "已更改，重启后生效",

	"Drop folders": "投放目录", "drop folder": "投放目录", "watching": "监视中", "trouble": "有问题", "taken": "已收取", "moved aside": "已移出", "of these still there": "移出后尚存",

	"Certificates": "证书", "use": "用途", "expires": "到期", "certificate": "证书", "clock": "时钟", "audit": "审计记录",

	"Reports of storage commitment that wait": "待送达的存储承诺报告", "peer": "对端",
	"Notes on the configuration": "配置提示", "for Prometheus": "供 Prometheus 使用", "On the command line": "命令行",

	", ": "，", ": ": "：", "s": "秒", "min": "分钟", "h": "小时", "d": "天",
}
