package docs

// auditWords has the texts of docs/security.md's table of audited events in Chinese. Those that are nothing but commands need none.
var auditWords = map[string]string{
	"way": "途径", "what has happened": "发生了什么", "message": "消息",

	"DICOM, in":             "DICOM，入",
	"DICOM, out":            "DICOM，出",
	"drop folders":          "投放目录",
	"HTTP, `public.listen`": "HTTP，`public.listen`",
	"HTTP, `http.listen`":   "HTTP，`http.listen`",
	"HTTP, out":             "HTTP，出",
	"control socket":        "控制套接字",
	"commands":              "命令",
	"configuration":         "配置",
	"the gateway":           "网关",

	"an association was admitted; TLS version, cipher suite and certificate": "接纳了一个关联；TLS 版本、密码套件和证书",
	"it has ended; how": "该关联已结束；如何结束",
	"an association was rejected: AE title, address or certificate, or no room. The same from one address once a minute, with a count": "拒绝了一个关联：AE 标题、地址或证书不符，或没有空间。同一地址的同样情况每分钟记一次，附次数",
	"a TLS handshake failed. The same from one address once a minute, with a count":                                                    "TLS 握手失败。同一地址的同样情况每分钟记一次，附次数",
	"a presentation context was refused because the peer's `allow` lacks a right":                                                      "因对端的 `allow` 缺少权限而拒绝了一个表示上下文",
	"instances were stored (C), were held already (R), are other versions (U); by study":                                               "存储了实例（C），已有这些实例（R），是另外的版本（U），按检查汇总",
	"instances were refused; status":                                                          "拒绝了实例；应答的状态码",
	"C-FIND, C-MOVE, C-GET: keys, matches, status":                                            "C-FIND、C-MOVE、C-GET：查询键、匹配数、状态码",
	"instances were sent to a move destination or back over the association; by study":        "向 C-MOVE 目的地发送了实例，或经原关联送回，按检查汇总",
	"storage commitment was asked for (N-ACTION)":                                             "对端请求了存储承诺（N-ACTION）",
	"the result was reported to who has asked (N-EVENT-REPORT), or was not taken":             "向请求方报告了结果（N-EVENT-REPORT），或对方没有接受",
	"instances were delivered, or are parked; by destination and study":                       "投递了实例，或已搁置，按目的地和检查汇总",
	"a destination was asked for storage commitment (N-ACTION); how it answered":              "向目的地请求了存储承诺（N-ACTION）；其应答",
	"a destination has reported on storage commitment (N-EVENT-REPORT); whether it was taken": "目的地报告了存储承诺的结果（N-EVENT-REPORT）；是否接受",
	"an upstream was asked by C-FIND: keys, answers":                                          "用 C-FIND 询问了上游归档：查询键、应答数",
	"an upstream was asked by C-MOVE to send a series, or instances of it":                    "用 C-MOVE 请上游归档发送一个序列，或其中的实例",
	"`dcmgate restore --to` has sent a study to a peer":                                       "`dcmgate restore --to` 向对端发送了一个检查",

	"DICOM files were taken; by folder and study":               "收取了 DICOM 文件，按目录和检查汇总",
	"images that are not DICOM were taken; by folder and study": "收取了非 DICOM 图像，按目录和检查汇总",
	"files were moved aside; by folder and reason":              "移出了文件，按目录和原因汇总",

	"a study was listed by interface 203":                                                                                    "接口 203 列出了一个检查",
	"instances were downloaded; by client and study":                                                                         "下载了实例，按客户端和检查汇总",
	"an image that is not DICOM was fetched; by address and study":                                                           "取走了非 DICOM 图像，按地址和检查汇总",
	"an image that is not DICOM was uploaded; by client and study":                                                           "上传了非 DICOM 图像，按客户端和检查汇总",
	"a client was refused: its signature, or an address that was not given out. Once a minute for each reason, with a count": "拒绝了客户端：签名不对，或地址不是发出过的。每种原因每分钟记一次，附次数",
	"a request was refused: no token or another, a host name that is not the gateway's, or from the network while there is no token. Once a minute for each reason, with a count": "拒绝了请求：没有令牌或令牌不对，主机名不是网关的，或未设令牌时来自网络。每种原因每分钟记一次，附次数",
	"a TLS handshake failed, also on `public.listen`. Once a minute, with a count":                                                                                                "TLS 握手失败，包括 `public.listen` 上的。每分钟记一次，附次数",
	"a study was restored from the cloud, for a command or a client":                                                                                                              "为命令或客户端从云端取回了一个检查",

	"somebody else than the owner of the data folder or root has connected, and was refused. Once a minute, with a count": "数据目录所有者和 root 以外的人连接，被拒绝。每分钟记一次，附次数",

	"a changed configuration was taken, or was not: which keys, or why; never their values": "采用了或没有采用改动后的配置：哪些键，或为什么；从不记录其值",
	"a listener has moved to another address":                                               "监听换到了另一地址",
	"the audit trail was turned on, or goes on in another folder":                           "启用了审计记录，或改在另一目录继续",
	"the audit trail was turned off, or goes on in another folder":                          "停用了审计记录，或改在另一目录继续",
	"start":                            "启动",
	"stop":                             "停止",
	"instances were evicted; by study": "清除了实例，按检查汇总",
	"messages of the audit trail were lost; how many, and of which time": "丢失了审计消息；多少条，什么时间的",
}
