package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// sockets are the node's WebSockets: over each it answers as over HTTP, and tells new heads to who has subscribed to them.
type sockets struct {
	mu   sync.Mutex
	open map[*socket]bool
}

type socket struct {
	mu         sync.Mutex // of writing
	conn       *websocket.Conn
	subscribed bool
}

var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

const subscription = "0x1" // there is one a socket

// talk serves one socket until it is closed.
func (n *node) talk(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it has answered
	}
	s := &socket{conn: conn}
	n.sockets.mu.Lock()
	n.sockets.open[s] = true
	n.sockets.mu.Unlock()
	defer func() {
		n.sockets.mu.Lock()
		delete(n.sockets.open, s)
		n.sockets.mu.Unlock()
		conn.Close()
	}()
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return
		}
		var call request
		var reply []byte
		switch err := json.Unmarshal(text, &call); {
		case err == nil && call.Method == "eth_subscribe":
			reply = fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":%q}`, call.ID, subscription)
		case err == nil && call.Method == "eth_unsubscribe":
			reply = fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":true}`, call.ID)
		default:
			if reply, err = n.reply(text); err != nil {
				return
			}
		}
		s.mu.Lock()
		err = conn.WriteMessage(websocket.TextMessage, reply)
		switch call.Method {
		case "eth_subscribe":
			s.subscribed = true
		case "eth_unsubscribe":
			s.subscribed = false
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// rise makes a block the head, and tells it.
func (n *node) rise(number int) {
	n.head.Store(int64(number))
	text := fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":%q,"result":%s}}`, subscription, n.blocks[number].header)
	n.sockets.mu.Lock()
	defer n.sockets.mu.Unlock()
	for s := range n.sockets.open {
		s.mu.Lock()
		if s.subscribed {
			_ = s.conn.WriteMessage(websocket.TextMessage, text) // a socket that is broken ends by itself
		}
		s.mu.Unlock()
	}
}
