using System.Net;
using System.Text.RegularExpressions;

namespace Rollcall.Server.Tests.Pages;

/// <summary>A browser without a screen: cookies, forms with their hidden fields, no redirects followed unseen.</summary>
internal sealed partial class Visitor : IDisposable
{
    private readonly HttpClient _http;

    private readonly CookieContainer _cookies = new();

    /// <summary>Somebody who is signed in as the library's operator and District Administrator.</summary>
    public Visitor(Uri server)
        : this(server, Library.SessionOf(server)) { }

    /// <summary>Somebody with this session; null is nobody.</summary>
    public Visitor(Uri server, string? session)
    {
        var handler = LateContent.Handler();
        handler.CookieContainer = _cookies;
        _http = new HttpClient(handler) { BaseAddress = server };
        if (session is not null)
        {
            _cookies.Add(server, new Cookie("rollcall-session", session));
        }
    }

    /// <summary>What the browser holds as its session; null when it holds none.</summary>
    public string? Session =>
        _cookies.GetCookies(_http.BaseAddress!)["rollcall-session"]?.Value is { Length: > 0 } session ? session : null;

    public async Task<(HttpStatusCode Status, string Body, HttpResponseMessage Response)> GetAsync(
        string path,
        string? host = null,
        params (string Name, string Value)[] headers
    )
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        request.Headers.Host = host;
        foreach (var (name, value) in headers)
        {
            request.Headers.Add(name, value);
        }

        var response = await _http.SendAsync(request);
        return (response.StatusCode, await response.Content.ReadAsStringAsync(), response);
    }

    /// <summary>A page that has to be there.</summary>
    public async Task<string> PageAsync(string path)
    {
        var (status, body, _) = await GetAsync(path);
        Assert.Equal((path, HttpStatusCode.OK), (path, status));
        return body;
    }

    /// <summary>Sends a form of the page <paramref name="from"/> and says where it leads.</summary>
    public Task<string> SubmitAsync(string from, string action, params (string Name, string Value)[] fields) =>
        SubmitAsync(from, $"\"{action}\"", action, fields);

    /// <summary>The same for a form without an address of its own: <paramref name="sign"/> has to be on the page.</summary>
    public async Task<string> SubmitAsync(string from, string sign, string action, (string Name, string Value)[] fields)
    {
        var page = await PageAsync(from);
        Assert.Contains(sign, WebUtility.HtmlDecode(page), StringComparison.Ordinal);
        var token = TokenField().Match(page).Groups["token"].Value;
        Assert.NotEmpty(token);
        using var response = await PostAsync(action, [.. fields, ("__RequestVerificationToken", token)]);
        Assert.Equal((action, HttpStatusCode.Redirect), (action, response.StatusCode));
        return response.Headers.Location!.ToString();
    }

    /// <summary>Sends a form of the page <paramref name="from"/> that is refused, and gives the page that says why.</summary>
    public async Task<string> RefusedAsync(string from, string action, params (string Name, string Value)[] fields)
    {
        var token = TokenField().Match(await PageAsync(from)).Groups["token"].Value;
        using var response = await PostAsync(action, [.. fields, ("__RequestVerificationToken", token)]);
        Assert.Equal((action, HttpStatusCode.OK), (action, response.StatusCode));
        return WebUtility.HtmlDecode(await response.Content.ReadAsStringAsync());
    }

    /// <summary>Sends a file with a form of the page <paramref name="from"/> and gives the page that comes of it.</summary>
    public async Task<string> UploadAsync(string from, string action, string name, string content)
    {
        var token = TokenField().Match(await PageAsync(from)).Groups["token"].Value;
        using var form = new MultipartFormDataContent
        {
            { new StringContent(token), "__RequestVerificationToken" },
            { new ByteArrayContent(System.Text.Encoding.UTF8.GetBytes(content)), "file", name },
        };
        using var response = await _http.PostAsync(new Uri(action, UriKind.Relative), form);
        Assert.Equal((action, HttpStatusCode.OK), (action, response.StatusCode));
        return WebUtility.HtmlDecode(await response.Content.ReadAsStringAsync());
    }

    public Task<HttpResponseMessage> PostAsync(string action, params (string Name, string Value)[] fields) =>
        PostFromAsync("same-origin", action, fields);

    /// <summary>Sends a form from a page of this <paramref name="site"/>, as browsers say it: same-origin, same-site, cross-site.</summary>
    public async Task<HttpResponseMessage> PostFromAsync(string site, string action, params (string Name, string Value)[] fields)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(action, UriKind.Relative))
        {
            Content = new FormUrlEncodedContent(fields.Select(f => KeyValuePair.Create(f.Name, f.Value))),
        };
        request.Headers.Add("Sec-Fetch-Site", site);
        return await _http.SendAsync(request);
    }

    /// <summary>Sends a form of the page <paramref name="from"/>: <paramref name="meanwhile"/> happens after it was let in, and before it arrives.</summary>
    public async Task<HttpResponseMessage> PostLateAsync(
        string from,
        string action,
        Func<Task> meanwhile,
        params (string Name, string Value)[] fields
    )
    {
        var token = TokenOf(await PageAsync(from));
        using var form = new FormUrlEncodedContent([.. fields.Append(token).Select(f => KeyValuePair.Create(f.Name, f.Value))]);
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(action, UriKind.Relative))
        {
            Content = new LateContent(form, meanwhile),
        };
        request.Headers.ExpectContinue = true;
        request.Headers.Add("Sec-Fetch-Site", "same-origin");
        return await _http.SendAsync(request);
    }

    /// <summary>The hidden field that binds the forms of a page to the session.</summary>
    public static (string Name, string Value) TokenOf(string page) =>
        ("__RequestVerificationToken", TokenField().Match(page).Groups["token"].Value);

    /// <summary>What a browser would send of the form that has this field, as it came.</summary>
    public static List<(string Name, string Value)> FieldsOf(string page, string field = "lastName")
    {
        var form = page.Split("<form").Single(f => f.Contains($"name=\"{field}\"", StringComparison.Ordinal)).Split("</form>")[0];
        var fields = new List<(string, string)>();
        foreach (Match control in Control().Matches(form))
        {
            var tag = control.Groups["tag"].Value;
            var name = Attribute(tag, "name");
            if (name is null or "__RequestVerificationToken")
            {
                continue;
            }

            if (control.Groups["kind"].Value == "input")
            {
                if (Attribute(tag, "type") != "checkbox" || tag.Contains(" checked", StringComparison.Ordinal))
                {
                    fields.Add((name, Attribute(tag, "value") ?? ""));
                }
            }
            else if (control.Groups["kind"].Value == "textarea")
            {
                fields.Add((name, WebUtility.HtmlDecode(control.Groups["inner"].Value)));
            }
            else
            {
                var options = Option().Matches(control.Groups["inner"].Value);
                var chosen = options.FirstOrDefault(o => o.Value.Contains(" selected", StringComparison.Ordinal)) ?? options[0];
                fields.Add((name, Attribute(chosen.Value, "value") ?? ""));
            }
        }

        return fields;

        static string? Attribute(string tag, string name) =>
            Regex.Match(tag, $" {name}=\"([^\"]*)\"", RegexOptions.None, TimeSpan.FromSeconds(1)) is { Success: true } match
                ? WebUtility.HtmlDecode(match.Groups[1].Value)
                : null;
    }

    /// <summary>Types into a field.</summary>
    public static void Put(List<(string Name, string Value)> fields, string name, string value) =>
        fields[fields.FindIndex(f => f.Name == name)] = (name, value);

    [GeneratedRegex(
        "(?<tag><(?<kind>input|textarea|select)\\b[^>]*>)((?<=<(textarea|select)\\b[^>]*>)(?<inner>.*?)</(textarea|select)>)?",
        RegexOptions.ExplicitCapture | RegexOptions.Singleline,
        1000
    )]
    private static partial Regex Control();

    [GeneratedRegex("<option[^>]*>", RegexOptions.None, 1000)]
    private static partial Regex Option();

    /// <summary>Signs in with this session, in the browser as it is.</summary>
    public void Enter(string session) => _cookies.Add(_http.BaseAddress!, new Cookie("rollcall-session", session));

    public void Dispose() => _http.Dispose();

    [GeneratedRegex("name=\"__RequestVerificationToken\" type=\"hidden\" value=\"(?<token>[^\"]+)\"", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex TokenField();
}
