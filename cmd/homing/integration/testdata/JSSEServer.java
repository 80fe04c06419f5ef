import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/** Answers any request with its name, by JSSE with its defaults. Arguments: name, port, chain and key in PEM. */
public class JSSEServer {
	public static void main(String[] args) throws Exception {
		byte[] answer = ("HTTP/1.0 200 OK\r\n\r\n" + args[0] + " java\n").getBytes();
		var listener = context(Path.of(args[2]), Path.of(args[3])).getServerSocketFactory()
			.createServerSocket(Integer.parseInt(args[1]), 1024, InetAddress.getByName("127.0.0.1"));
		while (true) {
			Socket conn = listener.accept();
			new Thread(() -> serve(conn, answer)).start();
		}
	}

	static void serve(Socket conn, byte[] answer) {
		try (conn) {
			InputStream in = conn.getInputStream();
			for (int newlines = 0; newlines < 2; ) { // an empty line ends the request
				int b = in.read();
				if (b < 0) {
					return;
				}
				newlines = b == '\n' ? newlines + 1 : b == '\r' ? newlines : 0;
			}
			OutputStream out = conn.getOutputStream();
			out.write(answer);
			out.flush();
		} catch (Exception e) {
			// a conn that was ended by its client
		}
	}

	static SSLContext context(Path chain, Path key) throws Exception {
		Certificate cert;
		try (InputStream in = Files.newInputStream(chain)) {
			cert = CertificateFactory.getInstance("X.509").generateCertificate(in);
		}
		String pem = Files.readString(key).replaceAll("-----[A-Z ]+-----", "").replaceAll("\\s", "");
		PrivateKey secret = KeyFactory.getInstance(cert.getPublicKey().getAlgorithm())
			.generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
		char[] password = "none".toCharArray();
		KeyStore store = KeyStore.getInstance("PKCS12");
		store.load(null, null);
		store.setKeyEntry("server", secret, password, new Certificate[] {cert});
		KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
		keys.init(store, password);
		SSLContext context = SSLContext.getInstance("TLS");
		context.init(keys.getKeyManagers(), null, null);
		return context;
	}
}
