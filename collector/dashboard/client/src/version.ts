/** Name and version of this library, as `X-Systole-Client` sends them when the program gives no name. */
export const CLIENT = "systole-client/0.1.0";
